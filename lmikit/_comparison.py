"""`Comparison`: several methods on one network, side by side; plain data and its table."""

import dataclasses
import math

__all__ = ["Comparison", "ComparisonRow"]


@dataclasses.dataclass(frozen=True)
class ComparisonRow:
    """One method's result: `bound` is proven, or None with the `reason` why nothing was proven."""

    method: str
    bound: float | None
    seconds: float
    reason: str = ""

    @property
    def proven(self) -> bool:
        return self.bound is not None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Rows sorted by bound, tightest first, and a sampled lower bound of the true constant.

    `lower` is a Jacobian norm computed in floating point at one input: the true Lipschitz
    constant is at least that, up to rounding. None where the network has no forward pass.
    """

    rows: tuple[ComparisonRow, ...]
    lower: float | None
    dims: tuple[int, ...]

    def ratio(self, row: ComparisonRow) -> float | None:
        """bound / lower, or None where either is missing or zero."""
        if row.bound is None or not self.lower:
            return None
        return row.bound / self.lower

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        rows = [
            {**dataclasses.asdict(row), "proven": row.proven, "ratio": self.ratio(row)} for row in self.rows
        ]
        return {"dims": list(self.dims), "lower": self.lower, "rows": rows}

    def __str__(self) -> str:
        lines = [f"network {'-'.join(map(str, self.dims))}"]
        lines.append(f"{'method':<22} {'bound':>14} {'/lower':>9} {'seconds':>9}  proven")
        for row in self.rows:
            ratio = self.ratio(row)
            bound = "-" if row.bound is None else f"{row.bound:.8g}"
            factor = "-" if ratio is None else f"{ratio:.4g}"
            proven = "yes" if row.proven else "no"
            lines.append(f"{row.method:<22} {bound:>14} {factor:>9} {row.seconds:>9.3f}  {proven}")
        if self.lower is not None:
            lines.append(
                f"{'sampled lower bound':<22} {self.lower:>14.8g}  (the true constant is no smaller)"
            )
        lines += [f"{row.method}: {row.reason}" for row in self.rows if row.reason]
        return "\n".join(lines)

    @staticmethod
    def sorted_rows(rows: list[ComparisonRow]) -> tuple[ComparisonRow, ...]:
        """Tightest bound first, refusals last, faster first among equals."""
        return tuple(sorted(rows, key=lambda r: (math.inf if r.bound is None else r.bound, r.seconds)))
