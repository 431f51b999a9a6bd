"""The errors of ``storage``. The message of each is a sentence that its reader can act on.

FlowError                    the base of all errors that we raise on purpose; a command exits 1
├── UsageError               the command or a setting is wrong; a command exits 2
├── EmbeddedError            the embedded servers cannot be started here
├── LiveError                the live channel cannot be reached or used
├── SpoolError               the spool's folder cannot be used
│   └── SpoolFull            no room left in it
└── StoreError               the database refused
    ├── StoreUnavailable     it cannot be reached
    │   └── AccessDenied     it does not let this user in
    ├── StoreFull            it has no room left on its disk
    ├── ValueRefused         it will never take this value
    ├── SchemaMissing        it has not had all migrations of this release
    └── SchemaNewer          it was migrated by a newer release
"""


class FlowError(Exception):
    """Something the user can read and act on."""


class UsageError(FlowError):
    """The command line or a FLOW_* setting is wrong."""


class EmbeddedError(FlowError):
    """The embedded PostgreSQL or Valkey could not be started."""


class LiveError(FlowError):
    """The live channel could not be reached."""


class SpoolError(FlowError):
    """The spool's folder cannot be used."""


class SpoolFull(SpoolError):
    """There is no room left in the spool."""


class StoreError(FlowError):
    """The database refused what was asked."""


class StoreUnavailable(StoreError):
    """The database cannot be reached."""


class AccessDenied(StoreUnavailable):
    """The database server does not let the user in; waiting does not change that."""


class StoreFull(StoreError):
    """The database has no room left on its disk."""


class ValueRefused(StoreError):
    """The database refused a value, and would again; others may be fine."""


class RightMissing(StoreError):
    """The database's role may not do this."""


class SchemaMissing(StoreError):
    """The database has not had all migrations of this release."""


class SchemaNewer(StoreError):
    """The database was migrated by a newer release than this one."""
