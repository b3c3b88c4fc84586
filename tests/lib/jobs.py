# SPDX-License-Identifier: Apache-2.0
"""All that a service tells of its jobs."""


def all_jobs(get):
    """{id: record} of all jobs; get(path) is (status, page)."""
    found, after = {}, ""
    while True:
        status, page = get(f"/jobs?limit=100{after}")
        if status != 200:
            raise RuntimeError(f"{status} {page}")
        found.update((j["id"], j) for j in page["jobs"])
        if page["next"] is None:
            return found
        after = "&after=" + page["next"]
