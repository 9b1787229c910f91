"""How a run opens the store, and how it ends on what nobody foresaw: without words that are not ours."""

from typing import Literal

import dagster as dg

from qanatix_pipelines.defs.resources import StoreResource
from qanatix_pipelines.errors import QanatixError, StoreUnavailable
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.tracebacks import places


def open_store(resource: StoreResource) -> Store:
    """The store. Raises dg.Failure without what the driver says, which may hold a part of the store's address."""
    try:
        return resource.open()
    except StoreUnavailable as error:
        raise dg.Failure(str(error), metadata={"code": error.code}, allow_retries=False) from None
    except QanatixError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    except Exception as error:  # noqa: BLE001  # whatever it is, only its place is shown
        raise broken(error, "pull") from None


def broken(error: Exception, what: Literal["pull", "test", "dry_run"]) -> dg.Failure:
    """The end of a run by a fault of ours. Its text may hold a row or an address, so only type and place are shown."""
    return dg.Failure(
        f"The {what.replace('_', ' ')} broke on a fault of its own ({type(error).__name__}).",
        metadata={
            "code": f"{what}_broken",
            "where": dg.MetadataValue.md("\n".join(f"- `{place}`" for place in places(error))),
        },
        allow_retries=False,
    )
