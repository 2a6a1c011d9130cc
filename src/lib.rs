//! Placeholder
#![allow(unused_imports)]
use {aes_gcm as _, mongodb as _, redis as _, rusqlite as _, tokio as _, snap as _, flate2 as _};
