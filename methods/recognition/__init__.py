"""Recognition under degradation: CRRCD and AIRD for low resolution, G2D for masked faces, NACO for forged videos."""
