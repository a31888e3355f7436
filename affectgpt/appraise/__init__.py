"""Small appraisers: observations in, distributions over basic emotions out."""
