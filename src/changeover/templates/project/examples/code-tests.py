# Run after the model's answer to code-request.txt, in the same namespace: the function comes from there.
# ruff: noqa: F821 - see above
# pyright: reportUndefinedVariable=false
assert late_invoices([], 30) == []
assert late_invoices([{"number": "A-1", "age": 31, "paid": False}], 30) == ["A-1"]
assert late_invoices([{"number": "A-1", "age": 30, "paid": False}], 30) == []
assert late_invoices([{"number": "A-1", "age": 90, "paid": True}], 30) == []
assert late_invoices([{"number": n, "age": a, "paid": False} for n, a in [("B", 45), ("C", 9), ("A", 60)]], 14) == [
    "B",
    "A",
]
