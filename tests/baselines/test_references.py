"""Known answers: of the published code where it computes the method, else of the formulas in
float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mri2pet.baselines import pairwise
from mri2pet.baselines.networks import AuthorsCritic
from mri2pet.baselines.pairwise import consistency, mean_consistency
from mri2pet.baselines.variations import (
    Variation,
    brightness,
    contrast,
    cutout,
    saturation_over_slices,
    translation,
)
from mri2pet.baselines.wasserstein import critic_loss, generator_loss, penalty
from mri2pet.config import Config

from .reference_inputs import Inputs, our_critic_name, our_generator_name

INPUTS = {"seed", "batch", "mri_shape", "pet_shape"} | {
    f"{network}_{kind}" for network in ("generator", "critic") for kind in ("names", "shapes")
}
NAMES_OF_GRADIENTS = {"critic/loss_grad_names", "generator/adversarial_grad_names"}

#: Name → norm of the difference over the norm.
TOLERANCES = {
    "generator/pet_eval": 1e-4,
    "generator/pet_train": 1e-4,
    "generator/mri_embedding": 1e-4,
    "generator/activation_norms_eval": 1e-4,
    "generator/adversarial_loss": 1e-4,
    "generator/adversarial_grad_norms": 1e-4,
    "source_generator/pet_eval_norms": 1e-4,
    "critic/real": 1e-4,
    "critic/fake": 1e-4,
    "critic/mri_embedding": 1e-4,
    "critic/pet_embedding": 1e-4,
    "critic/block_norms_real": 1e-4,
    "critic/masked": 1e-4,
    "critic/gradient_penalty": 1e-4,
    "critic/gradient_penalty_grad_conv1": 1e-4,
    "critic/loss": 1e-4,
    "critic/loss_grad_norms": 1e-4,
    "critic/patch_mlp_real": 1e-4,
    "augment/brightness": 1e-6,
    "augment/saturation_over_slices": 1e-6,
    "augment/contrast": 1e-6,
    "augment/translation": 1e-6,
    "augment/cutout": 1e-6,
    "augment/all_without_saturation": 1e-6,
    "right/patch_map": 1e-4,
    "right/consistency": 1e-4,
    "right/consistency_layers": 1e-4,
    "right/critic_consistency": 1e-4,
    "right/contrast_generator": 1e-5,
    "right/contrast_critic": 1e-5,
    "right/pa_image": 1e-4,
    "right/pa_high": 1e-4,
    "right/pa_high_mse": 1e-5,
    "right/consistency_networks": 1e-3,
    "right/contrast_generator_networks": 1e-3,
    "authors/critic_real": 1e-4,
    "authors/critic_fake": 1e-4,
    "authors/patch_real": 1e-4,
    "authors/critic_masked_rows": 1e-4,
    "authors/gradient_penalty": 1e-4,
    "authors/consistency": 1e-4,
    "authors/critic_consistency": 1e-4,
    "authors/consistency_networks": 1e-3,
    "authors/contrast_generator": 1e-5,
    "authors/contrast_critic": 1e-5,
    "authors/pa_image": 1e-4,
    "authors/pa_high": 1e-4,
    "authors/pa_high_mse": 1e-5,
    "authors/augment_all": 1e-6,
}


@pytest.fixture(scope="module")
def reference(shared_reference) -> dict:
    path = shared_reference / "baselines_small.npz"
    if not path.is_file():
        pytest.skip(f"no known answers in {path}")
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def answers(reference) -> dict[str, torch.Tensor]:
    """Name → what this package computes."""
    inputs = Inputs(reference)
    return {
        **of_the_generator(inputs),
        **of_the_critic(inputs),
        **of_its_losses(inputs, reference),
        **of_the_authors_critic(inputs),
        **of_made_up_features(inputs),
        **of_two_generators(inputs),
        **of_the_variations(inputs),
    }


def test_every_name_is_asked_for(reference):
    assert set(reference) == set(TOLERANCES) | INPUTS | NAMES_OF_GRADIENTS


@pytest.mark.parametrize("name", TOLERANCES)
def test_answer(name, reference, answers):
    known = torch.from_numpy(np.asarray(reference[name])).double()
    value = answers[name].detach().double()
    assert value.numel() == known.numel()
    error = (value.reshape(known.shape) - known).norm() / known.norm()
    assert error < TOLERANCES[name]


def norms(features):
    """[layers, B]."""
    return torch.stack([f.norm(dim=1) for f in features])


def layer_by_layer(compare, *sets, **options):
    return torch.stack([compare(*layer, **options) for layer in zip(*sets, strict=True)])


@torch.no_grad()
def of_the_generator(inputs):
    generator, source = inputs.generator(), inputs.generator(source=True)
    mri, z = inputs.mri(), inputs.z()
    condition = generator.encode(mri)
    pet, activations = generator.draw(condition, z)
    return {
        "generator/mri_embedding": condition,
        "generator/pet_eval": pet,
        "generator/activation_norms_eval": norms(activations),
        "source_generator/pet_eval_norms": source(z, mri).flatten(1).norm(dim=1),
        "generator/pet_train": generator.train()(z, mri),
    }


@torch.no_grad()
def of_the_critic(inputs):
    critic, mri, pet = inputs.critic(patches=True), inputs.mri(), inputs.pet()
    joint = critic.joint(critic.encode(mri), pet)
    mask = torch.from_numpy(inputs.uniform("mask", tuple(joint.shape)) > 0.66)
    return {
        "critic/real": critic.score(joint),
        "critic/mri_embedding": joint[:, :256],
        "critic/pet_embedding": joint[:, 256:],
        "critic/block_norms_real": norms(critic.features(joint)),
        "critic/masked": critic.score(joint * mask),
        "right/patch_map": critic.patch_map(pet),
    }


def of_its_losses(inputs, reference):
    critic, mri, pet = inputs.critic(), inputs.mri(), inputs.pet()
    config = Config(model=inputs.config())
    fake = torch.from_numpy(reference["generator/pet_eval"])[:, None]

    def score(volumes):
        return critic.score(critic.joint(critic.encode(mri), volumes))

    at_mixture = penalty(score, pet, fake, inputs.numbers("alpha"))
    first = critic.pet_encoder.conv[0].weight
    (slope,) = torch.autograd.grad(at_mixture, first, retain_graph=True)
    loss = critic_loss(score(pet), score(fake), at_mixture, config)["loss"]
    loss.backward()
    of_critic = gradient_norms(critic, reference["critic/loss_grad_names"], our_critic_name)
    # In float64: one slope of a LeakyReLU that rounding turns moves these norms by 5e-5.
    generator, judge = inputs.generator().double().train(), inputs.critic().double()
    mri_64, z = mri.double(), inputs.z().double()
    adversarial = generator_loss(judge(generator(z, mri_64), mri_64))["loss"]
    adversarial.backward()
    names = reference["generator/adversarial_grad_names"]
    return {
        "critic/fake": score(fake),
        "critic/gradient_penalty": at_mixture,
        "critic/gradient_penalty_grad_conv1": slope,
        "critic/loss": loss,
        "critic/loss_grad_norms": of_critic,
        "generator/adversarial_loss": adversarial,
        "generator/adversarial_grad_norms": gradient_norms(generator, names, our_generator_name),
    }


def gradient_norms(network, names, ours):
    parameters = dict(network.named_parameters())
    assert {ours(str(name)) for name in names} == {
        name for name, parameter in parameters.items() if parameter.grad is not None
    }
    return torch.stack([parameters[ours(str(name))].grad.norm() for name in names])


def of_the_authors_critic(inputs):
    critic, mri, pet = inputs.critic(AuthorsCritic, patches=True), inputs.mri(), inputs.pet()
    generator = inputs.generator()
    fake = generator(inputs.z(), mri).detach()
    condition = critic.encode(mri)
    joint = critic.joint(condition, pet)
    rows = torch.tensor([float(n % 3 != 1) for n in range(inputs.batch)])[:, None]
    patches = critic.patch_score(condition, pet)

    def score(volumes):
        return critic.score(critic.joint(condition, volumes))

    return {
        "authors/critic_real": critic.score(joint),
        "authors/critic_fake": score(fake),
        "authors/patch_real": patches,
        "critic/patch_mlp_real": patches.logit(),
        "authors/critic_masked_rows": critic.score(joint * rows),
        "authors/gradient_penalty": penalty(score, pet, fake, inputs.numbers("alpha")),
    }


def of_made_up_features(inputs):
    source, target = inputs.layers("feature", "source"), inputs.layers("feature", "target")
    w, y, x = (inputs.layers("critic", role) for role in ("source", "target", "real"))
    of_critic = layer_by_layer(pairwise.critic_contrast, y, w, x)
    generator_contrast = pairwise.generator_contrast
    answers = {
        "right/consistency": mean_consistency(source, target),
        "right/consistency_layers": layer_by_layer(consistency, source, target),
        "right/critic_consistency": mean_consistency(w, y),
        "right/contrast_generator": layer_by_layer(generator_contrast, source, target),
        "right/contrast_critic": of_critic,
        "authors/consistency": mean_consistency(source, target, as_authors=True),
        "authors/critic_consistency": mean_consistency(w, y, as_authors=True),
        "authors/contrast_generator": layer_by_layer(
            generator_contrast, source, target, as_authors=True
        ),
        "authors/contrast_critic": of_critic,
    }
    for kind in ("right", "authors"):
        answers |= of_made_up_volumes(inputs, kind)
    return answers


def of_made_up_volumes(inputs, kind):
    as_authors = kind == "authors"

    def volumes(name, relative=None):
        features = inputs.features(name, "pa", 6 * 16 * 12, relative)
        return features.reshape(-1, 1, 6, 16, 12)

    def high(v):
        return pairwise.high_frequency(v, as_authors=as_authors)

    s, t, real = volumes("pa_source"), volumes("pa_target", "pa_source"), volumes("pa_real")
    return {
        f"{kind}/pa_image": consistency(s, t, as_authors=as_authors),
        f"{kind}/pa_high": consistency(high(s), high(t), as_authors=as_authors),
        f"{kind}/pa_high_mse": (high(t) - high(real)).square().mean(),
    }


@torch.no_grad()
def of_two_generators(inputs):
    generator, source = inputs.generator(), inputs.generator(source=True)
    mri, z = inputs.mri(), inputs.z()
    of_source = source.draw(source.encode(mri), z)[1]
    adapted = generator.draw(generator.encode(mri), z)[1]
    return {
        "right/consistency_networks": mean_consistency(of_source, adapted),
        "right/contrast_generator_networks": layer_by_layer(
            pairwise.generator_contrast, of_source, adapted
        ),
        "authors/consistency_networks": mean_consistency(of_source, adapted, as_authors=True),
    }


def of_the_variations(inputs):
    shape = (inputs.batch, 6, 17, 14)
    x = torch.from_numpy(np.tanh(inputs.wave("augment_x", shape, 0.7)))[:, None]
    v = Variation(
        brightness=inputs.numbers("brightness"),
        saturation=inputs.numbers("saturation"),
        contrast=inputs.numbers("contrast"),
        shift_i=inputs.integers("shift_i", -2, 3),
        shift_j=inputs.integers("shift_j", -2, 3),
        cut_i=inputs.integers("cut_i", 0, 17),
        cut_j=inputs.integers("cut_j", 0, 14),
    )
    return {
        "augment/brightness": brightness(x, v.brightness),
        "augment/saturation_over_slices": saturation_over_slices(x, v.saturation),
        "augment/contrast": contrast(x, v.contrast),
        "augment/translation": translation(x, v.shift_i, v.shift_j),
        "augment/cutout": cutout(x, v.cut_i, v.cut_j),
        "augment/all_without_saturation": v(x),
        "authors/augment_all": v(x, as_authors=True),
    }
