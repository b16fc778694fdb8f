"""The part of S3's API that an app and its tools need, over folders on this machine."""
