//! Verification: C-ECHO (PS3.4 Annex A, PS3.7 §9.1.5).

use crate::{
    Ended, Exchange, Request, Service, Status,
    command::operation,
    sop::{VERIFICATION, is_data_set_encoding},
    status,
};
use async_trait::async_trait;

/// Answers "are you there?".
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

#[async_trait]
impl Service for Echo {
    fn serves(&self, abstract_syntax: &str) -> bool {
        abstract_syntax == VERIFICATION
    }

    fn accepts_transfer_syntax(&self, transfer_syntax: &str) -> bool {
        is_data_set_encoding(transfer_syntax)
    }

    fn commands(&self) -> &[u16] {
        &[operation::C_ECHO_RQ]
    }

    async fn serve(&self, request: &Request, exchange: &mut dyn Exchange) -> Result<(), Ended> {
        exchange.drain().await?;
        exchange.send(&status::response(&request.command, Status::SUCCESS), None).await
    }
}
