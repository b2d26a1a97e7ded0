"""Fixed features fitted to synthetic images, on which a small linear model is trained privately.

Sources of the method: patches of images as filters, whitened by their statistics (Coates and Ng 2011; Thiry et al.
2021), here taken from synthetic images; handcrafted features under privacy (Tramer and Boneh 2021); priors from
synthetic images (Tang et al. 2023).
"""

from trilemma.models.prior.family import PRIORS, Prior, features_in, view_shifts
from trilemma.models.prior.features import Features, features_of
from trilemma.models.prior.network import PriorNetwork
from trilemma.models.prior.pooling import Shift
from trilemma.models.prior.store import fitted, is_fitted

__all__ = [
    "PRIORS",
    "Features",
    "Prior",
    "PriorNetwork",
    "Shift",
    "features_in",
    "features_of",
    "fitted",
    "is_fitted",
    "view_shifts",
]
