"""A policy in Python: small copies while a folio is shared, and no split for a short reference."""


class Gentle:
    def cow_order(self, order, pmd):
        return "fixed(4)" if order > 4 else "inherit"

    def vma_split(self, order, page, shared):
        return "keep" if shared else "split_nonuniform"

    def mlock_rule(self, event, order, nr_mapped, pmd, within):
        return event == "munlock" or nr_mapped == 1 << order
