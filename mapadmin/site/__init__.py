"""The site folder: mapadmin.toml and people.toml, typed.

The structs in here are the documentation of the settings: an unknown or missing key is an error
that names the key, the file and the fix. No value in them is ever a secret, only a reference.
"""

from mapadmin.site.aws import AwsSettings, AwsThresholds
from mapadmin.site.base import RefusedError, Settings
from mapadmin.site.cleanup import CleanupSettings, JobsCleanup, OutdatedRule, StageFolder
from mapadmin.site.database import DatabaseSettings, Tls
from mapadmin.site.folder import (
    PEOPLE_FILE,
    SITE_FILE,
    SITE_VARIABLE,
    Site,
    convert,
    expand,
    find_site,
    load_site,
    refuse_writable,
    require_role,
    role_names,
    stamp,
)
from mapadmin.site.globus import ArchiveSettings, CollectionSettings, GlobusSettings
from mapadmin.site.jupyterhub import HubSettings
from mapadmin.site.people import People, Person
from mapadmin.site.pipeline import PipelineSettings
from mapadmin.site.settings import SiteFile, SiteSettings
from mapadmin.site.stores import StoreProtocol, StoreSettings
from mapadmin.site.workers import BuildSettings, EngineName, KindSettings, WorkersSettings

__all__ = [
    "PEOPLE_FILE", "SITE_FILE", "SITE_VARIABLE", "ArchiveSettings", "AwsSettings", "AwsThresholds",
    "BuildSettings", "CleanupSettings", "CollectionSettings", "DatabaseSettings", "EngineName",
    "GlobusSettings", "HubSettings", "JobsCleanup", "KindSettings", "OutdatedRule", "People",
    "Person", "PipelineSettings", "RefusedError", "Settings", "Site", "SiteFile", "SiteSettings",
    "StageFolder", "StoreProtocol", "StoreSettings", "Tls", "WorkersSettings", "convert", "expand",
    "find_site", "load_site", "refuse_writable", "require_role", "role_names", "stamp",
]  # fmt: skip
