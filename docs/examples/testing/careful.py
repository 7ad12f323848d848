"""A policy: a folio that is cut is split if one process alone has it, and small copies are made of shared ones."""


class Careful:
    def vma_split(self, order, page, shared):
        return "keep" if shared else "split_try"

    def cow_order(self, order, pmd):
        return "fixed(2)" if order > 2 else "inherit"
