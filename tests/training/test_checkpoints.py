"""Checkpoints: what comes back, which are kept, and what happens when a disk or a file fails."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx

from saved_runs import differing_parts
from yolox_jax.config import ConfigError
from yolox_jax.training.checkpoints import CheckpointError, Checkpoints, Progress
from yolox_jax.training.state_differences import described
from yolox_jax.training.step.layout import Packed, packed
from yolox_jax.training.step.loss_scale import LossScale
from yolox_jax.training.step.optimizer import sgd
from yolox_jax.training.step.state import Frozen, TrainState, unpacked

HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])
PROGRESS = Progress(best_value=0.1 + 0.2, best_epoch=3, best_step=30, pending=[{"loss": 1 / 3}], devices=1)


def make_state(step: int = 7, size: int = 300, *, output_first: bool = False) -> TrainState:
    """A state of random numbers; `output_first` as on a GPU."""
    rng = np.random.default_rng(step)

    def weights() -> Packed:
        arrays = {"kernel": rng.random((size, 1, 2, 3)), "bias": rng.random(3)}
        tree = nnx.State({"conv": {name: nnx.Param(array.astype(np.float32)) for name, array in arrays.items()}})
        return jax.tree.map(jnp.asarray, packed(tree, output_first=output_first))

    def statistics() -> Packed:
        tree = nnx.State({"bn": {"mean": nnx.BatchStat(rng.random(3).astype(np.float32))}})
        return jax.tree.map(jnp.asarray, packed(tree, output_first=output_first))

    return TrainState(
        step=jnp.int32(step),
        skipped_steps=jnp.int32(2),
        loss_scale=LossScale(jnp.float32(1024), jnp.int32(5)),
        params=weights(),
        batch_stats=statistics(),
        frozen=nnx.State({"stem": {"kernel": Frozen(jnp.asarray(rng.random((1, 1, 2, 3)), jnp.float32))}}),
        ema_params=weights(),
        ema_batch_stats=statistics(),
        opt_state=optax.tree_utils.tree_set(sgd(0.1, 0.9, 0.0, 1.0).init(weights()), trace=weights()),
    )


def save(folder: Path, *steps: int, keep: int = 10) -> None:
    with Checkpoints(folder, keep) as checkpoints:
        for step in steps:
            checkpoints.save(make_state(step), PROGRESS)


def largest_file(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_the_best_value_of_a_version_that_called_it_ap_comes_back(tmp_path):
    save(tmp_path, 7)
    file = tmp_path / "7" / "progress" / "metadata"
    file.write_text(file.read_text().replace('"best_value"', '   "best_ap"'))  # the size of the file is recorded
    with Checkpoints(tmp_path, 1) as checkpoints:
        assert checkpoints.restore(make_state(0), HERE)[1] == PROGRESS


def test_state_and_progress_come_back_to_the_bit(tmp_path):
    save(tmp_path, 7)
    with Checkpoints(tmp_path, 1) as checkpoints:
        state, progress = checkpoints.restore(make_state(0), HERE)
    assert differing_parts(make_state(7), state) == set()
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(lambda x: (x.shape, x.dtype), make_state())
    assert progress == PROGRESS


def test_a_checkpoint_holds_named_arrays_in_the_shapes_of_the_network_whatever_the_layout(tmp_path):
    """What runs in progress have on disk; another form would make them impossible to resume."""
    with Checkpoints(tmp_path, 1) as checkpoints:
        checkpoints.save(make_state(7, output_first=True), PROGRESS)
    kernel, of_channels = "float32[300, 1, 2, 3]", "float32[3]"
    weights = [f"{part}.conv" for part in ("params", "ema_params", "opt_state.2.trace")]
    assert described(ocp.StandardCheckpointHandler().metadata(tmp_path / "7" / "state").tree) == {
        "step": "int32[]",
        "skipped_steps": "int32[]",
        "loss_scale.value": "float32[]",
        "loss_scale.good_steps": "int32[]",
        "frozen.stem.kernel.value": "float32[1, 1, 2, 3]",
        "batch_stats.bn.mean.value": of_channels,
        "ema_batch_stats.bn.mean.value": of_channels,
        **{f"{name}.kernel.value": kernel for name in weights},
        **{f"{name}.bias.value": of_channels for name in weights},
    }


@pytest.mark.parametrize("output_first", [False, True])
def test_a_checkpoint_moves_between_cpus_and_gpus(tmp_path, output_first):
    with Checkpoints(tmp_path, 1) as checkpoints:
        checkpoints.save(make_state(7, output_first=output_first), PROGRESS)
        checkpoints.wait()
        found, _ = checkpoints.restore(make_state(0, output_first=not output_first), HERE)
    expected = make_state(7, output_first=not output_first)
    assert differing_parts(expected, found) == set() == differing_parts(unpacked(make_state(7)), unpacked(found))


def test_the_memory_of_a_state_may_be_used_as_soon_as_save_returns(tmp_path):
    overwrite = jax.jit(lambda state: jax.tree.map(jnp.zeros_like, state), donate_argnums=0)
    with Checkpoints(tmp_path, 1) as checkpoints:
        state = jax.tree.map(jnp.copy, make_state(7, size=1_000_000))
        checkpoints.save(state, PROGRESS)
        for _ in range(3):
            state = overwrite(state)
        jax.block_until_ready(state)
        checkpoints.wait()
        restored, _ = checkpoints.restore(state, HERE)
    assert differing_parts(make_state(7, size=1_000_000), restored) == set()


def test_the_newest_and_the_best_are_kept_and_a_saved_step_is_not_saved_again(tmp_path):
    with Checkpoints(tmp_path, 2) as checkpoints:
        for step, best in ((1, None), (2, 1), (3, 1), (4, 1), (5, 4), (5, 4), (6, 4), (7, 4)):
            checkpoints.keep_best(best)
            checkpoints.save(make_state(step), PROGRESS)
        checkpoints.wait()
        assert checkpoints.steps() == [4, 6, 7]
        assert {path.name for path in tmp_path.glob("*.json")} == {f"{step}.sizes.json" for step in (4, 6, 7)}


def test_without_a_checkpoint_there_is_no_newest_one_and_nothing_to_restore(tmp_path):
    with Checkpoints(tmp_path, 1) as checkpoints:
        assert checkpoints.latest_step() is None
        with pytest.raises(CheckpointError, match="there is none"):
            checkpoints.restore(make_state(), HERE)


def truncate(checkpoint: Path) -> None:
    path = largest_file(checkpoint)
    path.write_bytes(path.read_bytes()[:-1])


def delete_a_file(checkpoint: Path) -> None:
    largest_file(checkpoint).unlink()


def empty(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def scramble(checkpoint: Path) -> None:
    path = checkpoint / "state" / "_METADATA"
    path.write_bytes(path.read_bytes().replace(b"{", b"["))


@pytest.mark.parametrize("damage", [truncate, delete_a_file, empty, scramble])
def test_a_broken_newest_checkpoint_is_named_and_the_one_before_used(tmp_path, caplog, damage):
    save(tmp_path, 3, 5)
    damage(tmp_path / "5")
    with Checkpoints(tmp_path, 2) as checkpoints:
        state, _ = checkpoints.restore(make_state(), HERE)
        assert int(state.step) == 3
        assert f"{tmp_path / '5'} cannot be read" in caplog.text and (tmp_path / "5.unreadable").is_dir()
        checkpoints.save(make_state(5), PROGRESS)
        checkpoints.wait()
        assert int(checkpoints.restore(make_state(), HERE)[0].step) == 5


def test_a_checkpoint_whose_sizes_are_not_known_is_used(tmp_path):
    save(tmp_path, 3, 5)
    (tmp_path / "5.sizes.json").unlink()
    with Checkpoints(tmp_path, 2) as checkpoints:
        assert int(checkpoints.restore(make_state(), HERE)[0].step) == 5


def test_where_all_are_broken_all_are_named(tmp_path):
    save(tmp_path, 3, 5)
    truncate(tmp_path / "3")
    truncate(tmp_path / "5")
    with Checkpoints(tmp_path, 2) as checkpoints, pytest.raises(CheckpointError, match=r"/5 .*bytes.*/3 .*bytes"):
        checkpoints.restore(make_state(), HERE)


def test_the_state_of_another_network_is_an_error_and_stays_where_it_is(tmp_path):
    save(tmp_path, 3)
    with Checkpoints(tmp_path, 2) as checkpoints:
        with pytest.raises(
            CheckpointError, match=r"kernel.value is float32\[300, 1, 2, 3\] in the checkpoint, float32\[200"
        ):
            checkpoints.restore(make_state(size=200), HERE)
        assert checkpoints.steps() == [3]


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    save(tmp_path, 3)
    (tmp_path / "9.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    with Checkpoints(tmp_path, 2) as checkpoints:
        assert checkpoints.steps() == [3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "3.sizes.json"]


def on_a_disk_that_fills_up(folder: Path) -> None:
    """Saves, fails to save for want of room in a file, and saves again; run in a process of its own."""
    size, none = 1_000_000, resource.RLIM_INFINITY
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Checkpoints(folder, 1) as checkpoints:
        checkpoints.save(make_state(1, size), PROGRESS)
        checkpoints.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, none))
        checkpoints.save(make_state(2, size), PROGRESS)
        checkpoints.save(make_state(3, size), PROGRESS)  # tells of 2
        try:
            checkpoints.wait()
        except CheckpointError as error:
            print("wait:", error)
        print("steps:", checkpoints.steps())
        resource.setrlimit(resource.RLIMIT_FSIZE, (none, none))
        checkpoints.save(make_state(4, size), PROGRESS)
        checkpoints.wait()
        print("restored:", int(checkpoints.restore(make_state(0, size), HERE)[0].step))
    print("left:", sorted(path.name for path in folder.iterdir()))


def test_a_disk_that_fills_up_keeps_the_checkpoint_before_and_the_run_goes_on(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (Path.cwd(), Path(__file__).parents[1])))}
    command = [sys.executable, __file__, str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"wait: the checkpoint {tmp_path / 'run' / '3'} could not be written" in done.stdout
    assert "steps: [1]" in done.stdout and "restored: 4" in done.stdout and "left: ['4', '4.sizes.json']" in done.stdout
    assert done.stderr.count("Training continues; the newest complete checkpoint is that of step 1") == 2


if __name__ == "__main__":
    on_a_disk_that_fills_up(Path(sys.argv[1]))


@pytest.mark.parametrize("name", ["try [1]", "a*b", "a?b", "[", "{x} 50% #1", "人 ~", "new\nline", "l" * 250])
def test_a_checkpoint_is_read_back_whatever_its_folder_is_called(tmp_path, caplog, name):
    save(tmp_path / name, 7)
    with Checkpoints(tmp_path / name, 1) as checkpoints:
        state, _ = checkpoints.restore(make_state(0), HERE)
    assert differing_parts(make_state(7), state) == set()
    assert {path.name for path in (tmp_path / name).iterdir()} == {"7", "7.sizes.json"}
    assert "merge" not in caplog.text


def test_a_run_directory_may_be_renamed_to_and_from_a_name_with_brackets(tmp_path):
    save(tmp_path / "run", 7)
    (tmp_path / "run").rename(tmp_path / "run [1]")
    save(tmp_path / "run [1]", 9)
    (tmp_path / "run [1]").rename(tmp_path / "run")
    for step in (9, 7):
        with Checkpoints(tmp_path / "run", 1) as checkpoints:
            state, _ = checkpoints.restore(make_state(0), HERE)
        assert differing_parts(make_state(step), state) == set()
        shutil.rmtree(tmp_path / "run" / str(step))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a**b", r"contains \*\*"),
        ("a\\b", "contains a backslash"),
        (os.fsdecode(b"caf\xe9"), "not valid UTF-8"),
        ("gs:/bucket", "remote storage, which is not supported"),
    ],
)
def test_a_folder_whose_name_the_storage_misreads_is_refused(tmp_path, name, reason):
    with pytest.raises(ConfigError, match=rf"--workdir: checkpoints cannot be saved in .*{reason}. Choose another"):
        Checkpoints(tmp_path / name, 1)
    assert not any((tmp_path / name).iterdir()) and not (tmp_path / "a").exists()


def test_a_folder_from_which_checkpoints_cannot_be_read_back_is_refused(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no such luck")

    monkeypatch.setattr(ocp.Checkpointer, "restore", fail)
    with pytest.raises(ConfigError, match=r"a small one could not be written and read back \(no such luck\)"):
        Checkpoints(tmp_path, 1)
    assert not any(tmp_path.iterdir())
