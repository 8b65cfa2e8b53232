"""The site folder: mapadmin.toml and people.toml, typed.

The structs in here are the documentation of the settings: an unknown or missing key is an error
that names the key, the file and the fix. No value in them is ever a secret, only a reference.
"""

from mapadmin.site.aws import AwsSettings, AwsThresholds
from mapadmin.site.base import RefusedError, Settings
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
)
from mapadmin.site.people import People, Person
from mapadmin.site.settings import SiteFile, SiteSettings

__all__ = [
    "PEOPLE_FILE", "SITE_FILE", "SITE_VARIABLE", "AwsSettings", "AwsThresholds", "DatabaseSettings",
    "People", "Person", "RefusedError", "Settings", "Site", "SiteFile", "SiteSettings", "Tls",
    "convert", "expand", "find_site", "load_site", "refuse_writable", "require_role", "role_names",
]  # fmt: skip
