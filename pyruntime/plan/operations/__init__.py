"""The operations as builder methods, by kind; `PlanBuilder` is all of them together."""
