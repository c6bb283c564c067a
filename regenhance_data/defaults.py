"""Defaults that stages, predictors and deployment share."""

MB_SIZE, SCALE, LEVELS = 16, 3, 10
MOST_MB_SIZE, MOST_SCALE = 1024, 16  # that files may say
SCALES = range(2, 9)  # of upscalers, and of HR frames beside LR frames
BUDGETS = (0.02, 0.05, 0.1, 0.2, 0.4)  # shares of macroblocks at which results are evaluated
BUDGET = 0.1  # the one of them that short texts are about
ORIGINAL_HEIGHT_PX = 480  # videos of fewer lines are taken as LR frames, others as originals
