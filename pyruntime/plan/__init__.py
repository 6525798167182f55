"""The plan of a model: what an architecture file builds, what the core runs, what the NumPy interpreter explains."""

from pyruntime.plan.builder import PlanBuilder
from pyruntime.plan.operations.attention import RopeScaling
from pyruntime.plan.operations.experts import Routing
from pyruntime.plan.values import Cache, Plan, Step, Value
from pyruntime.plan.weights import Weight, Weights

__all__ = ["Cache", "Plan", "PlanBuilder", "RopeScaling", "Routing", "Step", "Value", "Weight", "Weights"]
