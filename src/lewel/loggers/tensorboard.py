"""TensorBoard: event files."""

from __future__ import annotations

from pathlib import Path

from lewel.engine.record import Row, numbers


class TensorBoard:
    """Writes each number of a row to an event file.

    Raises whatever an installed but broken package raises.
    """

    def __init__(self, directory: Path, start_step: int = 0) -> None:
        """
        Args:
            directory: of the event files.
            start_step: TensorBoard hides events of later steps, which an earlier start of the run wrote.
        """
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only in training

        self._writer = SummaryWriter(str(directory), purge_step=start_step + 1 if start_step else None)

    def write(self, row: Row) -> None:
        for name, value in numbers(row).items():
            self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Wait until all events are written."""
        self._writer.close()
