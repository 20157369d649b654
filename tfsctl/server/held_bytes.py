"""Bytes that grow while they are held, such as a head that has not arrived completely, counted in the memory budget."""

from __future__ import annotations

from tfsctl.server.memory_budget import MemoryBudget


class HeldBytes:
    """The bytes of one thing that grows, such as a head that has not arrived completely. They are counted in a budget."""

    __slots__ = ("_budget", "size")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.size = 0

    def resize(self, size: int) -> None:
        """Hold that many bytes from now on. Raises BudgetExceededError, and changes nothing, if they are too many."""
        if size > self.size:
            self._budget.reserve(size - self.size, self.size)
        else:
            self._budget.remove(self.size - size)
        self.size = size
