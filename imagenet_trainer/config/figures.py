"""Flags of drawings of the confusion matrix."""

from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.values import integer, subset


@dataclass(frozen=True)
class FigureSettings:
    """How confusion matrices are drawn."""

    order: str = option(
        "imagenet",
        "order of the classes in plots; imagenet: by label; wordnet: by group in WordNet; cluster: "
        "confused classes next to each other",
        choices=("imagenet", "wordnet", "cluster"),
    )
    figure_formats: Tuple[str, ...] = option(
        (),
        "also draw the matrix with axes in these formats, beside its PNG file; svg, pdf",
        subset("svg", "pdf"),
        metavar="LIST",
    )
    figure_top_k: Optional[int] = option(
        None,
        "predictions of each image that figures count, of up to five classes only the first; by "
        "default 5, and 1 in the difference that --compare draws",
        integer(1),
        choices=(1, 5),
    )
    figure_shares: bool = option(
        False, "figures show shares of the images of the true class instead of counts"
    )
    figure_scale: str = option(
        "equalised",
        "from counts to colours; equalised: by their rank among all cells",
        choices=("equalised", "linear", "log"),
    )
    figure_colours: str = option(
        "green",
        "palette of figures; cividis and viridis suit colour vision deficiency",
        choices=("green", "cividis", "viridis", "grey"),
    )
    figure_without: Tuple[str, ...] = option(
        (),
        "what figures leave out: diagonal, and empty for classes without images",
        subset("diagonal", "empty"),
        metavar="LIST",
    )
