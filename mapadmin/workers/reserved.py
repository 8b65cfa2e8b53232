"""What the database tells of the workers: sessions, failed jobs, reserved ones and whose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mapadmin.core.errors import MapadminError, UnreachableError
from mapadmin.workers.status import DatabaseView, ReservedJob

if TYPE_CHECKING:
    from mapadmin.admin import Admin
    from mapadmin.db.server import Server


def view_database(admin: Admin) -> DatabaseView:
    """A database that cannot be asked is a problem to be told, and hides nothing else."""
    from mapadmin.db.server import connect

    site = admin.site
    view = DatabaseView()
    try:
        password = site.secret(site.database.password, "database.password")
        server = connect(site.database, password, site.folder)
        admin.at_exit(server.close)
        _look(admin, server, view)
    except MapadminError as error:
        view.problems.append(f"the database: {error.message}")
    return view


def _look(admin: Admin, server: Server, view: DatabaseView) -> None:
    from mapadmin.pipeline.inventory import project_schemas, take_inventory
    from mapadmin.pipeline.jobs import count_jobs
    from mapadmin.pipeline.layout import Layout
    from mapadmin.pipeline.liveness import judge, read_reservations, uptime
    from mapadmin.pipeline.local import local_processes
    from mapadmin.pipeline.names import TableName
    from mapadmin.pipeline.threads import read_threads, require_sight

    inventory = take_inventory(server, project_schemas(admin.site))
    counted = count_jobs(server, inventory)
    view.errors = sum(jobs.error for jobs in counted.jobs)
    view.problems += counted.problems
    busy = {(jobs.schema, jobs.job_table) for jobs in counted.jobs if jobs.reserved}
    # Before the threads: a worker that has connected since then is among them.
    jobs = [
        job
        for table in inventory.jobs
        if (table.schema, table.name) in busy
        for job in read_reservations(server, Layout(table), grace=0)
    ]
    try:
        require_sight(server)
    except UnreachableError:
        raise
    except MapadminError as error:
        view.problems.append(error.message)
        return
    sessions = read_threads(server)
    view.hosts = sessions.worker_hosts
    up, local = (uptime(server), local_processes()) if jobs else (0.0, set())
    view.reserved = [
        ReservedJob(
            table=str(TableName(job.layout.own.schema, job.table)), host=job.host, pid=job.pid,
            seconds=round(job.age, 3), verdict=judge(job, sessions, local, uptime=up).value,
        )
        for job in jobs
    ]  # fmt: skip
