# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from medsegdiff_monai.apps.program import run_program, with_texts_as_typed


@with_texts_as_typed
class LabelCommands:
    """MONAI Label with the bundles of this project; docs/label.md shows the way."""

    def prepare(self, app: str, *bundles: str) -> None:
        """Make a MONAI Label app of bundles, or add them to an app that is there.

        Args:
            app: folder of the app; where it has no main.py, it gets that of this project.
            bundles: folders of the bundles, which are copied.
        """
        from medsegdiff_monai.apps.label.bundles import prepare_app
        from medsegdiff_monai.utils import printable

        print(f"Prepared {printable(prepare_app(app, bundles))}")

    def ranking(self, server: str, model: str, out: str = "ranking.png", images: int = 4) -> None:
        """Draw the most and the least uncertain images of a running server, with what the model makes of them.

        Args:
            server: address of the server, as http://127.0.0.1:8000.
            model: name of the model, by whose scores the images are ranked; it is one for pictures.
            out: picture to write.
            images: number of images of either kind.
        """
        from medsegdiff_monai.apps.label.ranking import draw_ranking
        from medsegdiff_monai.utils import printable

        print(f"Wrote {printable(draw_ranking(server, model, out, images))}")


def main() -> None:
    """Run a command."""
    run_program("medsegdiff_monai.apps.label", LabelCommands)


if __name__ == "__main__":
    main()
