"""From the downloads of ADNI, PPMI, UK Biobank or any BIDS trees to one BIDS tree."""
