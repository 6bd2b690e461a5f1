"""Lists as Arrow record batches that stop and go on anywhere: what engines are connected by; extra `arrow`.

    from stackone_lms import SyncClient
    from stackone_lms.batches import Slice, batches

    with SyncClient() as client:
        for batch in batches(client, Slice("completions", "123")):
            load(batch.data)                        # a pyarrow.RecordBatch
            if batch.remaining is not None:
                save(batch.remaining.to_json())     # goes on behind it, wherever it is read

`gather` reads many lists at once. `Connect` says how to reach the API to processes that make a client of their own.
"""

from .connect import Connect
from .gathering import Failures, batches, gather
from .reading import Batch, Failure, schema
from .slices import Slice, fields_for

__all__ = ["Batch", "Connect", "Failure", "Failures", "Slice", "batches", "fields_for", "gather", "schema"]
