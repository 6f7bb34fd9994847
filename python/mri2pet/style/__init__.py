"""PET-like MRIs for pre-training: VGG features, slice-wise style transfer.

`vgg` has the network, `lbfgs` the optimiser for many independent problems at once, `transfer`
one volume, `slicewise` the same one slice after another, and `cohort` all MRIs of a cohort.
"""
