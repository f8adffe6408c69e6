"""Push every file that the run cache names, so that another machine can restore a run instead of repeating it.

`dvc push --run-cache` pushes the records of the runs but not the metrics files they name (those live in git, `cache:
false`), and a record with a missing file restores nothing. Seen with DVC 3.67.
"""

from dvc.repo import Repo


def main() -> None:
    with Repo() as repo, repo.lock:
        runs = repo.stage_cache.push(None)
        for objects in repo.stage_cache.get_used_objs(runs).values():
            repo.cloud.push(objects)


if __name__ == "__main__":
    main()
