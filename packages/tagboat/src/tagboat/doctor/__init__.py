"""What keeps a component from being released, looked for before it is: one finding for each thing."""

from tagboat.doctor.examination import examine
from tagboat.doctor.finding import Finding

__all__ = ["Finding", "examine"]
