"""The console command `paddleseg`, which imports nothing that takes time before a signal ends it in one line."""

from collections.abc import Sequence

from regenhance_data.signals import end_at_once_on_signals


def main(argv: Sequence[str] | None = None) -> None:
    """Run `paddleseg` with these words, or those of the command line, and leave with its exit code."""
    end_at_once_on_signals("paddleseg")
    from regenhance_data.predictors.paddleseg import verbs

    verbs.main(argv)


if __name__ == "__main__":
    main()
