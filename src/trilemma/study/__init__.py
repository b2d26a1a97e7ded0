"""Many trials: the plan, the paper's studies, the runner, the results and what follows from them."""
