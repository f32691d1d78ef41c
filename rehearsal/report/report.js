// Shows the figures under the pointer, or under the arrow keys, on all plots at once. The page says the same without it.
(() => {
  const plots = document.getElementById("plots");
  const readout = document.getElementById("readout");
  const table = document.querySelector("#samples table");
  if (!plots || !readout || !table) return;
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const rows = [...table.tBodies[0].rows];
  const times = rows.map((row) => Number(row.dataset.at));
  const end = Number(plots.dataset.end);
  let chosen = -1;

  const show = (index) => {
    chosen = Math.min(Math.max(index, 0), rows.length - 1);
    plots.classList.add("live");
    plots.style.setProperty("--at", `${(100 * times[chosen]) / end}%`);
    readout.replaceChildren(...[...rows[chosen].cells].map((cell, column) => {
      const part = document.createElement("span");
      const value = document.createElement("b");
      value.textContent = cell.textContent.trim();
      part.append(`${heads[column]} `, value);
      return part;
    }));
  };
  const nearest = (at) => {
    const index = times.findIndex((time) => time >= at);
    return index < 0 ? rows.length - 1 : index;
  };

  plots.addEventListener("pointermove", (event) => {
    const area = event.target.closest(".area");
    if (!area) return;
    const box = area.getBoundingClientRect();
    show(nearest((end * (event.clientX - box.left)) / box.width));
  });
  plots.addEventListener("pointerleave", () => plots.classList.remove("live"));
  plots.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (event.key === "Escape") plots.classList.remove("live");
    if (step === undefined || event.target !== plots) return;
    event.preventDefault();
    show(chosen + step);
  });
})();
