"""The names of the importance formulas and the points at which they take the gradient; formulas.py computes them."""

from collections.abc import Sequence

from regenhance_data.errors import InputError

HR_POINT = 1.0  # the point that is the HR frame itself
# The points α of each formula; those of `path` and `gain` can be changed.
POINTS: dict[str, tuple[float, ...]] = {
    "product": (HR_POINT,),
    "gradient": (HR_POINT,),
    "first_order": (HR_POINT,),
    "path": (0.1, 0.5, 0.9),
    "gain": (0.33, HR_POINT),
}
FORMULAS = tuple(POINTS)
WITH_POINTS = ("path", "gain")
DEFAULT_FORMULA = "gain"


def formula_spec(name: str, points: Sequence[float] | None = None) -> str:
    """A formula as one string: its name, and its points unless they are the default ones (path:0.1,0.5).

    InputError for points outside [0, 1], repeated points, and points for a formula whose point is fixed.
    """
    if points is None or tuple(points) == POINTS[name]:
        return name
    if name not in WITH_POINTS:
        raise InputError(f"--points: {name} takes its gradient at the HR frame; give --formula path or gain")
    if not points or not all(0 <= point <= 1 for point in points) or len(set(points)) < len(points):
        raise InputError(f"--points {' '.join(map(str, points))}: expected distinct numbers from 0 to 1")
    return f"{name}:{','.join(f'{point:g}' for point in points)}"


def parse_formula(spec: str) -> tuple[str, tuple[float, ...]]:
    """The name and the points of a formula given as one string. InputError when there is no such formula."""
    name, colon, listed = spec.partition(":")
    if name not in POINTS:
        raise InputError(
            f"formula {spec}: expected one of {', '.join(FORMULAS)}, or one with points, as in path:0.1,0.5"
        )
    if not colon:
        return name, POINTS[name]
    try:
        points = tuple(float(point) for point in listed.split(","))
    except ValueError:
        raise InputError(f"formula {spec}: expected numbers from 0 to 1 between commas, as in path:0.1,0.5") from None
    formula_spec(name, points)
    return name, points
