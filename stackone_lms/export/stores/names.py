"""The names of the options by which stores are reached: those of object_store, which obstore and deltalake share."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Final

from ...errors import InvalidArgumentError

_PREFIX: Final = re.compile(r"^(?:aws|google|azure_storage|azure)_")
"""With or without it, an option is the same."""
_OF_CLIENTS: Final = """
allow_http allow_invalid_certificates connect_timeout default_content_type default_headers http1_only
http2_keep_alive_interval http2_keep_alive_timeout http2_keep_alive_while_idle http2_max_frame_size http2_only
pool_idle_timeout pool_max_idle_per_host proxy_url proxy_ca_certificate proxy_excludes randomize_addresses read_timeout
root_certificate timeout user_agent
"""
# https://docs.rs/object_store: AmazonS3ConfigKey, GoogleConfigKey, AzureConfigKey
_OF_S3: Final = """
access_key_id secret_access_key session_token token region default_region bucket bucket_name endpoint endpoint_url
endpoint_url_s3 virtual_hosted_style_request unsigned_payload checksum_algorithm metadata_endpoint imdsv1_fallback
container_credentials_relative_uri container_credentials_full_uri container_authorization_token_file
web_identity_token_file role_arn role_session_name endpoint_url_sts sts_endpoint skip_signature copy_if_not_exists
conditional_put disable_tagging disable_bulk_delete s3_express request_payer server_side_encryption sse_kms_key_id
sse_bucket_key_enabled sse_customer_key_base64
"""
_OF_GOOGLE: Final = """
service_account service_account_path service_account_key application_credentials bucket bucket_name base_url
bearer_token skip_signature
"""
_OF_AZURE: Final = """
account_name account_key access_key master_key client_id client_secret tenant_id authority_id authority_host sas_key
sas_token token bearer_token use_emulator endpoint msi_endpoint identity_endpoint object_id msi_resource_id
federated_token_file use_fabric_endpoint use_azure_cli skip_signature container_name disable_tagging
fabric_token_service_url fabric_workload_host fabric_session_token fabric_cluster_identifier credential_type
encryption_key
"""
_BY_SCHEME: Final[Mapping[str, str]] = {
    **dict.fromkeys(("s3", "s3a"), _OF_S3),
    "gs": _OF_GOOGLE,
    **dict.fromkeys(("az", "azure", "abfs", "abfss"), _OF_AZURE),
}
_OF_DELTALAKE: Final = re.compile(
    r"(?:aws_)?s3_\w+|(?:delta_)?dynamo_\w+|\w+_dynamodb|aws_iam_role_(?:arn|session_name)|aws_profile|aws_region_sts"
    r"|aws_force_credential_load|aws_ec2_metadata_disabled|aws_sts_\w+|allow_unsafe_rename|mount_allow_unsafe_rename"
    r"|max_retries|retry_timeout|backoff_config\.\w+|object_store_concurrency_limit|max_concurrency_tasks"
)
"""What deltalake reads besides, for its locks, retries and ways to credentials."""


def unknown(name: str, scheme: str) -> str:
    """Say that a store has no such option, and which one may have been meant."""
    known = [*_OF_CLIENTS.split(), *_BY_SCHEME[scheme].split()]
    close = get_close_matches(_PREFIX.sub("", name.lower()), known, n=1)
    return f"there is no store option {name!r:.60} of {scheme}://" + (f": {close[0]} is meant?" if close else "")


def refuse_unknown_to_deltalake(options: Collection[str], scheme: str) -> None:
    """Refuse an option that deltalake would pass over in silence.

    Args:
        options: The names that were given.
        scheme: That of the URL.

    Raises:
        InvalidArgumentError: There is no such option.
    """
    known = {*_OF_CLIENTS.split(), *_BY_SCHEME[scheme].split()}
    for name in options:
        lowered = name.lower()
        if _PREFIX.sub("", lowered) not in known and not _OF_DELTALAKE.fullmatch(lowered):
            raise InvalidArgumentError(unknown(name, scheme))
