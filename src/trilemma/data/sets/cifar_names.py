"""Public constants of CIFAR-10 and CIFAR-100: class names in the order of the labels, mean and std."""

from __future__ import annotations

CIFAR_MEAN = (0.49139968, 0.48215841, 0.44653091)
"""Mean of CIFAR-10's training images per channel, in units of pixel / 255, as the code of De et al. (2022)
gives it; used for CIFAR-100 too, as there."""

CIFAR_STD = (0.24703223, 0.24348513, 0.26158784)
"""Standard deviation to go with :data:`CIFAR_MEAN`."""

_TEN = "airplane automobile bird cat deer dog frog horse ship truck"

_HUNDRED = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle
bowl boy bridge bus butterfly camel can castle caterpillar cattle
chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
plain plate poppy porcupine possum rabbit raccoon ray road rocket
rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

_TWENTY = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables
household_electrical_devices household_furniture insects large_carnivores large_man-made_outdoor_things
large_natural_outdoor_scenes large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people
reptiles small_mammals trees vehicles_1 vehicles_2
"""

CIFAR10_CLASSES = tuple(_TEN.split())
CIFAR100_CLASSES = tuple(_HUNDRED.split())
CIFAR100_COARSE = tuple(_TWENTY.split())

CIFAR100_TARGETS = ("fine", "coarse")
"""Which of CIFAR-100's labels can be predicted; the first where nothing else is asked for."""
