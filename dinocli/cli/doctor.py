"""`dinocli doctor`: versions, devices, formats and speed of this machine, also for bug reports."""

from dataclasses import asdict
from typing import Annotated, Any

from dinocli.cli import options as opt
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import grouped, terminal_options

EPILOG = examples(
    "dinocli doctor --json | jq .torch",
    "dinocli doctor --bench --model vit_tiny_patch16_224",
)

BENCH_MODEL = "vit_small_patch16_224"


@grouped(terminal=terminal_options)
def doctor(
    bench: Annotated[
        bool, opt.output("--bench", "Measure images per second, about a minute; name the bottleneck.")
    ] = False,
    model: Annotated[
        str,
        opt.output(
            "--model", "timm name, for --bench.", "NAME", show_default=BENCH_MODEL, autocompletion=opt.completion.models
        ),
    ] = "",
    device: opt.Device = "auto",
    terminal: Any = None,
) -> None:
    """Show versions, devices, image formats and caches; with --bench also the speed. No network."""
    from dinocli.cli.facts import print_facts
    from dinocli.cli.render import print_json
    from dinocli.errors import UsageError

    if not bench and (model or device != "auto"):
        raise UsageError(f"{'--model' if model else '--device'} is for the measurement of speed: add --bench")
    facts: dict[str, Any] = {}
    with terminal:
        from dinocli.tasks.doctor import examine

        facts = examine()
        if bench:
            from dinocli.tasks.train.machine_speed import measure_speed

            speed = measure_speed(model or BENCH_MODEL, device, terminal)
            facts["bench"] = asdict(speed)
            for line in speed.table():
                terminal.line(line)
    if terminal.as_json:
        print_json(facts)
        return
    lines: dict[str, Any] = {}
    for name, value in facts.items():
        if name != "bench":
            lines |= {f"extra {extra}": state for extra, state in value.items()} if name == "extras" else {name: value}
    print_facts(lines)
