"""Fixed features fitted to synthetic images, on which a linear model or a small network is trained privately.

Sources of the method: patches of images as filters, whitened by their statistics (Coates and Ng 2011; Thiry et al.
2021), here taken from synthetic images; handcrafted features under privacy (Tramer and Boneh 2021); priors from
synthetic images (Tang et al. 2023).
"""

from trilemma.models.prior.family import PRIORS, Prior, features_in, view_shifts
from trilemma.models.prior.features import features_of
from trilemma.models.prior.maps import fitted_maps, maps_from, maps_of
from trilemma.models.prior.network import OnMaps, PriorNetwork
from trilemma.models.prior.pooling import Shift
from trilemma.models.prior.rows import Features
from trilemma.models.prior.store import fitted, is_fitted

__all__ = [
    "PRIORS",
    "Features",
    "OnMaps",
    "Prior",
    "PriorNetwork",
    "Shift",
    "features_in",
    "features_of",
    "fitted",
    "fitted_maps",
    "is_fitted",
    "maps_from",
    "maps_of",
    "view_shifts",
]
