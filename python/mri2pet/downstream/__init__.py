"""What synthetic PETs are good for: diagnosis and MMSE from MRIs, PETs and both."""
