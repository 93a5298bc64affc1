"""Commands whose help ends with calls that work."""

import click


def show(ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the examples of a command; of the noun where its last word is a value, as in `resume ses-…`."""
    from codestrator.edges import examples

    words = ctx.command_path.replace(".", " ").replace("_", "-").split()[1:]
    calls = examples.of(" ".join(words)) or examples.of(" ".join(words[:-1]))
    if calls:
        with formatter.section("Examples"):
            for line in (line for call in calls for line in examples.broken(call)):
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Command(click.Command):
    """A command that shows how it is called."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        show(ctx, formatter)


class Group(click.Group):
    """Commands below one word, which shows how they are called."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        show(ctx, formatter)
