"""Fixed features from synthetic images: a small linear model on them learns privately what a network cannot.

Method: patches of synthetic images as filters (Coates and Ng 2011; Thiry et al. 2021), whitened by synthetic
statistics; handcrafted features under privacy: Tramer and Boneh 2021; synthetic priors: Tang et al. 2023.
"""

from trilemma.models.prior.family import PRIORS, Prior, features_in, view_shifts
from trilemma.models.prior.features import Features, features_of
from trilemma.models.prior.network import PriorNetwork
from trilemma.models.prior.pooling import Shift
from trilemma.models.prior.store import fitted

__all__ = [
    "PRIORS",
    "Features",
    "Prior",
    "PriorNetwork",
    "Shift",
    "features_in",
    "features_of",
    "fitted",
    "view_shifts",
]
