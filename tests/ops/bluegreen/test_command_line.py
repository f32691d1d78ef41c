"""The command line as a whole: bad input, the stage that is meant, credentials, schemas, completion, installation."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import jsonschema  # type: ignore[import-untyped]
import pytest

from ops.bluegreen import PROJECT, install
from ops.bluegreen import documents as d
from ops.bluegreen.cli import cli, main
from ops.bluegreen.errors import CommandError, Exit, missing_permission
from ops.bluegreen.stage import find_target
from tests.support.operator_stage import OperatorStage


def commands(group: click.Group = cli, before: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that name it."""
    found = []
    for name, each in group.commands.items():
        if isinstance(each, click.Group):
            found += commands(each, (*before, name))
        else:
            found.append(((*before, name), each))
    return found


ARGUMENTS = {
    "plan": ["green"],
    "preflight": ["green"],
    "shift": ["green"],
    "switch-writer": ["green"],
    "completion": ["bash"],
}
OVER_A_STAGE = [words for words, _ in commands() if words[0] not in ("schema", "completion", "rehearse")]


class TestEveryCommand:
    @pytest.mark.parametrize("words", OVER_A_STAGE, ids=" ".join)
    def test_it_has_json_and_a_dry_run(self, words: tuple[str, ...]) -> None:
        options = {option for each in dict(commands())[words].params for option in each.opts}
        assert {"--json", "--dry-run", "--stage", "--local"} <= options

    @pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
    def test_its_help_says_what_it_does(self, words: tuple[str, ...], capsys: Any) -> None:
        if words == ("rehearse",):
            return
        assert main([*words, "--help"]) == Exit.DONE
        shown = capsys.readouterr().out
        assert shown.startswith(f"Usage: bluegreen {' '.join(words)}")

    @pytest.mark.parametrize("words", [("status",), ("shift",), ("replication", "stop")], ids=" ".join)
    def test_without_credentials_it_says_how_to_get_some(
        self, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
    ) -> None:
        for name in [each for each in os.environ if each.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        code = main([*words, *ARGUMENTS.get(words[0], []), "--json"])
        error = d.Error.model_validate_json(capsys.readouterr().out).error
        assert (code, error.exit_code) == (Exit.NOT_ALLOWED, Exit.NOT_ALLOWED)
        assert "aws sso login" in error.next_step

    @pytest.mark.parametrize("words", OVER_A_STAGE, ids=" ".join)
    def test_without_the_right_to_find_the_stage_it_names_that_right(
        self, stage: OperatorStage, words: tuple[str, ...]
    ) -> None:
        stage.denied["ssm:GetParametersByPath"] = "arn:aws:ssm:us-east-1:123456789012:parameter/x"
        ended = stage.run(*words, *ARGUMENTS.get(words[0], []))
        assert ended.code == Exit.NOT_ALLOWED
        assert "not allowed: ssm:GetParametersByPath on arn:aws:ssm:us-east-1:123456789012:parameter/x" in ended.err
        assert "Traceback" not in ended.err


class TestBadInput:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["shift"], "Missing argument"),
            (["shift", "purple"], "'purple' is not one of 'blue', 'green'"),
            (["admit", "green"], "'green' is not one of 'aws', 'legacy'"),
            (["stauts"], "No such command 'stauts'"),
            (["status", "--wtach"], "No such option"),
            (["status", "--interval", "0"], "0.0 is not in the range x>=0.5"),
            (["shift", "green", "--poll-seconds", "301"], "301 is not in the range 1<=x<=300"),
            (["approve", "--step", "one"], "'one' is not a valid integer"),
            (["approve", "--step", "0"], "no cutover ever ran"),
            (["rollback", "--reason", " "], "--reason: '', allowed: some words"),
            (["history", "--last", "0"], "0 is not in the range x>=1"),
            (["replication"], "Missing command"),
            (["completion", "tcsh"], "'tcsh' is not one of"),
            (["schema", "none"], "'none' is not one of"),
        ],
    )
    def test_one_message_says_what_is_wrong_and_what_is_allowed(
        self, stage: OperatorStage, words: list[str], message: str
    ) -> None:
        before = stage.snapshot()
        ended = stage.run(*words)
        shown = " ".join(ended.err.split())
        assert ended.code in (Exit.BAD_INPUT, Exit.REFUSED)
        assert message in shown
        assert "Next step: " in shown
        assert "Traceback" not in shown
        assert stage.snapshot() == before

    def test_with_json_a_mistake_is_json_too(self, stage: OperatorStage) -> None:
        ended = stage.run("shift", "purple", "--json")
        assert d.Error.model_validate(ended.document).error.exit_code == Exit.BAD_INPUT

    def test_an_unexpected_failure_shows_no_traceback(
        self, stage: OperatorStage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError("nobody thought of that")

        monkeypatch.setattr("ops.bluegreen.reading.read_status", fail)
        ended = stage.run("status")
        assert (ended.code, ended.err.splitlines()[0]) == (Exit.FAILED, "Error: nobody thought of that")
        assert "Traceback" not in ended.err

    def test_an_interruption_says_what_goes_on(self, stage: OperatorStage, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("ops.bluegreen.reading.read_status", interrupt)
        ended = stage.run("status", "--watch")
        assert (ended.code, "bluegreen status" in ended.err) == (Exit.INTERRUPTED, True)


class TestStage:
    def test_the_default_one_is_that_of_cdk_json(self) -> None:
        found = find_target(project=None, stage=None, region=None, local=False)
        assert (found.path, found.name, found.region) == ("/payments/prod", "payments-prod", "us-east-1")

    def test_another_one_is_named(self) -> None:
        found = find_target(project="cards", stage="eu", region="eu-central-1", local=False)
        assert (found.path, found.region) == ("/cards/eu", "eu-central-1")

    def test_a_project_of_a_stage_in_cdk_json_is_found(self, tmp_path: Path) -> None:
        (tmp_path / "cdk.json").write_text('{"context": {"stage": "a", "stages": {"b": {"project": "cards"}}}}')
        assert find_target(project=None, stage="b", region=None, local=False, folder=tmp_path).path == "/cards/b"

    @pytest.mark.parametrize("text", [None, "{", "{}", '{"context": []}', '{"context": {"stage": 1, "stages": []}}'])
    def test_a_cdk_json_that_says_nothing_is_named(self, tmp_path: Path, text: str | None) -> None:
        if text is not None:
            (tmp_path / "cdk.json").write_text(text)
        with pytest.raises(CommandError, match=r"cdk\.json does not say which stage is meant") as failure:
            find_target(project=None, stage=None, region=None, local=False, folder=tmp_path)
        assert failure.value.next_step == "name it: --project NAME --stage NAME"

    @pytest.mark.parametrize("name", ["Prod", "a/b", "..", "a b", "-"])
    def test_a_name_that_cannot_be_is_refused(self, name: str) -> None:
        with pytest.raises(CommandError, match="allowed: lower-case letters, digits and hyphens"):
            find_target(project="payments", stage=name, region=None, local=False)

    def test_one_that_is_not_there_is_said(self, stage: OperatorStage) -> None:
        ended = stage.run("--project", "payments", "--stage", "nowhere", "status", target=False)
        assert ended.code == Exit.BAD_INPUT
        assert "there are no parameters under /payments/nowhere in us-east-1" in ended.err

    def test_the_options_may_stand_after_the_command(self, stage: OperatorStage) -> None:
        project, _, name = stage.path.strip("/").partition("/")
        ended = stage.run("status", "--project", project, "--stage", name, target=False)
        assert ended.code == Exit.DONE, ended.err

    def test_they_may_stand_in_the_environment(self, stage: OperatorStage, monkeypatch: pytest.MonkeyPatch) -> None:
        project, _, name = stage.path.strip("/").partition("/")
        monkeypatch.setenv("BLUEGREEN_PROJECT", project)
        monkeypatch.setenv("BLUEGREEN_STAGE", name)
        assert stage.run("status", target=False).code == Exit.DONE

    def test_a_yes_does_not_stand_in_the_environment(
        self, stage: OperatorStage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stage.begin()
        monkeypatch.setenv("BLUEGREEN_ROLLBACK_YES", "1")
        assert stage.run("rollback").code == Exit.REFUSED

    def test_a_parameter_that_is_missing_is_named(self, stage: OperatorStage) -> None:
        name = f"{stage.path}/cutover/replication-instance"
        ssm = stage.aws.shared_client("ssm")
        ssm.delete_parameter(Name=name)
        try:
            ended = stage.run("replication", "status")
        finally:
            stage.put_parameter("cutover/replication-instance", "instance")
        assert ended.code == Exit.FAILED
        assert f"parameter {name} does not exist" in ended.err

    @pytest.mark.parametrize(
        ("text", "message"),
        [(None, "there is no local AWS"), ("{", "is not what `make deploy-local` writes"), ("{}", "is not what")],
    )
    def test_a_local_aws_that_is_not_there_is_said(self, tmp_path: Path, text: str | None, message: str) -> None:
        file = tmp_path / "cloud.json"
        if text is not None:
            file.write_text(text)
        with pytest.raises(CommandError, match=message) as failure:
            find_target(project=None, stage=None, region=None, local=True, state_file=file)
        assert "make deploy-local" in failure.value.next_step

    def test_either_the_local_one_or_a_name(self, stage: OperatorStage) -> None:
        ended = stage.run("--local", "status")
        assert (ended.code, "either the local AWS or a stage by its name" in ended.err) == (Exit.BAD_INPUT, True)


class TestSchemas:
    @pytest.mark.parametrize("name", sorted(d.SCHEMAS))
    def test_every_member_has_a_type(self, name: str, capsys: Any) -> None:
        assert main(["schema", name]) == Exit.DONE
        schema = json.loads(capsys.readouterr().out)
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["additionalProperties"] is False

    def test_every_command_over_a_stage_has_one(self) -> None:
        assert {words[0] for words in OVER_A_STAGE} | {"error"} == set(d.SCHEMAS)

    def test_what_a_command_prints_goes_with_the_printed_schema(self, stage: OperatorStage, capsys: Any) -> None:
        stage.begin()
        main(["schema", "status"])
        jsonschema.validate(stage.run("status", "--json").document, json.loads(capsys.readouterr().out))


class TestMessagesOfAws:
    @pytest.mark.parametrize(
        ("text", "action", "resource"),
        [
            (
                "User: arn:aws:sts::1:assumed-role/a/b is not authorized to perform: dynamodb:GetItem on resource: "
                "arn:aws:dynamodb:us-east-1:1:table/t because no identity-based policy allows the dynamodb:GetItem",
                "dynamodb:GetItem",
                "arn:aws:dynamodb:us-east-1:1:table/t",
            ),
            (
                "An error occurred (AccessDenied) when calling the DescribeRules operation: User: x is not authorized "
                "to perform: elasticloadbalancing:DescribeRules because",
                "elasticloadbalancing:DescribeRules",
                "*",
            ),
            (
                "An error occurred (UnauthorizedOperation) when calling the DescribeVpcEndpoints operation: You are "
                "not authorized to perform this operation.",
                "ec2:DescribeVpcEndpoints",
                "*",
            ),
            (
                "User is not authorized to perform: kms:Decrypt on the resource associated with this ciphertext",
                "kms:Decrypt",
                "*",
            ),
        ],
    )
    def test_the_missing_permission_is_found(self, text: str, action: str, resource: str) -> None:
        found = missing_permission(text)
        assert found is not None
        assert (found.action, found.resource) == (action, resource)

    def test_other_failures_are_none(self) -> None:
        assert missing_permission("An error occurred (ThrottlingException) when calling the Query operation") is None


class TestCompletion:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_a_script_for_the_shell(self, shell: str, capsys: Any) -> None:
        assert main(["completion", shell]) == Exit.DONE
        assert "_BLUEGREEN_COMPLETE" in capsys.readouterr().out

    @pytest.mark.slow
    def test_bash_completes_commands_and_options(self) -> None:
        environment = {**os.environ, "_BLUEGREEN_COMPLETE": "bash_complete"}
        for words, position, expected in (
            ("bluegreen roll", 1, "rollback"),
            ("bluegreen rollback --grad", 2, "--gradual"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "ops.bluegreen"],
                env={**environment, "COMP_WORDS": words, "COMP_CWORD": str(position)},
                capture_output=True,
                text=True,
                cwd=PROJECT,
                check=False,
            )
            assert f"plain,{expected}" in done.stdout, done.stderr


@pytest.mark.slow
class TestInstallation:
    def test_the_command_runs_this_checkout_from_anywhere(self, tmp_path: Path) -> None:
        folder = tmp_path / "with space"
        folder.mkdir()
        python = folder / "python"
        python.symlink_to(sys.executable)
        command = folder / "bluegreen"
        command.write_text(install.script(python=python, project=PROJECT))
        command.chmod(0o755)
        # An environment that Python is not told of: the packages are where those of the tests are.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [command, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Usage: bluegreen ")

    def test_a_path_that_the_shell_would_read_is_refused(self) -> None:
        with pytest.raises(ValueError, match="allowed is a path without quotes"):
            install.script(python=Path("/a$b/python"), project=PROJECT)


@pytest.mark.slow
class TestQuestions:
    """On a terminal of its own, as an operator sits at one."""

    @pytest.mark.parametrize(("answer", "code"), [("y", Exit.DONE), ("n", Exit.REFUSED), ("", Exit.REFUSED)])
    def test_a_question_is_answered(self, stage: OperatorStage, answer: str, code: Exit) -> None:
        stage.begin(step=2)
        ended, shown = on_a_terminal(stage, ["pause", "--no-wait"], answer + "\n")
        assert ended == code, shown
        assert "Go on? [y/N]" in shown
        assert (stage.found.order is not None) == (code == Exit.DONE)

    @pytest.mark.parametrize("typed", ["yes", ""])
    def test_a_loss_of_data_is_typed_out(self, stage: OperatorStage, typed: str) -> None:
        stage.begin(step=5)
        ended, shown = on_a_terminal(stage, ["rollback", "--accept-data-loss"], typed + "\n")
        assert ended == Exit.REFUSED, shown
        assert f"To go on, type {stage.found.cutover_id}" in " ".join(shown.split())
        assert stage.host.calls == []

    def test_a_watch_is_drawn_in_place_until_it_is_interrupted(self, stage: OperatorStage) -> None:
        stage.begin()
        # Ctrl-C, as the terminal sends it once the third drawing has begun.
        ended, shown = on_a_terminal(stage, ["status", "--watch", "--interval", "0.5"], "", interrupt_after=2)
        assert ended == Exit.INTERRUPTED, shown
        assert shown.count("Serves and writes") >= 2
        assert "\x1b[1A" in shown
        assert "Traceback" not in shown
        assert "bluegreen status shows what goes on" in " ".join(shown.split())

    def test_there_are_colours_unless_the_terminal_or_its_user_has_none(self, stage: OperatorStage) -> None:
        stage.begin()
        _, coloured = on_a_terminal(stage, ["status"], "")
        _, plain = on_a_terminal(stage, ["status"], "", NO_COLOR="1")
        _, dumb = on_a_terminal(stage, ["status"], "", TERM="dumb")
        assert "\x1b[32m" in coloured
        assert not any(f"\x1b[{code}m" in text for text in (plain, dumb) for code in (31, 32, 33))
        assert "\x1b" not in dumb


def on_a_terminal(
    stage: OperatorStage, words: list[str], typed: str, *, interrupt_after: int | None = None, **environment: str
) -> tuple[int, str]:
    """Exit code and screen of a command that runs on a terminal.

    Args:
        interrupt_after: drawings of a status after which the operator presses Ctrl-C.
    """
    project, _, name = stage.path.strip("/").partition("/")
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.bluegreen", "--project", project, "--stage", name, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=PROJECT,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "160", **environment},
        )
        os.close(theirs)
        os.write(ours, typed.encode())
        shown = b""
        while True:
            try:
                some = os.read(ours, 4096)
            except OSError:
                # Linux says so when the last writer has gone.
                break
            if not some:
                break
            shown += some
            if interrupt_after is not None and shown.count(b"Serves and writes") >= interrupt_after:
                process.send_signal(signal.SIGINT)
                interrupt_after = None
        return process.wait(), shown.decode(errors="replace")
    finally:
        os.close(ours)


class TestRehearsal:
    def test_its_options_go_to_the_rehearsal(self, capsys: Any) -> None:
        assert main(["rehearse", "--dry-run", "--seed", "7", "faults"]) == Exit.DONE
        assert capsys.readouterr().out.split()[-5:] == ["-m", "rehearsal", "--seed", "7", "faults"]

    @pytest.mark.slow
    def test_its_help_and_its_exit_code_are_those_of_the_rehearsal(self) -> None:
        def call(*words: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "ops.bluegreen", "rehearse", *words]
            return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

        assert "rehears" in call("--help").stdout
        assert call("--no-such-option").returncode == Exit.BAD_INPUT
