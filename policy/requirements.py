REQUIREMENTS: dict[str, str] = {}
