"""What others have the student imitate: one module a term.

Formulas are those of the papers, as HobbitLong's RepDistiller (the reference code of CRD) weighs them; where it departs from a
paper, the module says which of the two is here. Teacher and student see one picture in two resolutions, so their maps differ in
size: the larger of two maps is average-pooled to the smaller.
"""
