//! A first study, over the door that every device uses. The files are invented patients of `fixtures/`; none is written.

use super::summary::DicomAt;
use crate::config::{Config, Device};
use anyhow::{Context, ensure};
use leadglass_dimse::{
    AddressRule, AeTitle,
    send::{Proposal, Requestor, SendConfig, connect},
};
use leadglass_tap::part10::{HeadReader, HeadStep};
use std::{net::Ipv4Addr, time::Duration};

/// A chest X-ray, and a CT of two slices.
const SAMPLES: [&[u8]; 3] = [
    include_bytes!("../../../../fixtures/dx.dcm"),
    include_bytes!("../../../../fixtures/ct-1.dcm"),
    include_bytes!("../../../../fixtures/ct-2.dcm"),
];

/// Sends them to a listener by C-STORE, as a device that is enrolled.
pub async fn load(at: &DicomAt, calling: AeTitle) -> anyhow::Result<usize> {
    let config = SendConfig::new(calling, AeTitle::parse(&at.aet)?);
    for file in SAMPLES {
        let sample = Sample::of(file)?;
        let proposal = Proposal {
            abstract_syntax: sample.sop_class.as_str().to_owned(),
            transfer_syntaxes: vec![sample.transfer_syntax.as_str().to_owned()],
        };
        let stream = connect((at.host.as_str(), at.port), CONNECT_TIME).await?;
        let mut association = Requestor::open(stream, &config, &[proposal]).await?;
        let len = sample.data_set.len() as u64;
        let Sample { sop_class, sop_instance, transfer_syntax, data_set } = sample;
        let answer = association.store(&sop_class, &sop_instance, &transfer_syntax, data_set, len, |_| {}).await?;
        ensure!(answer.status.is_done(), "the vault answered {}", answer.status);
        association.release().await?;
    }
    Ok(SAMPLES.len())
}

/// The title under which somebody on this machine may send to the first tenant, if any may.
pub fn caller(config: &Config) -> Option<AeTitle> {
    let first = config.tenants.first()?.id;
    let may = |device: &&Device| {
        let here = device.address.parse::<AddressRule>().is_ok_and(|rule| rule.admits(Ipv4Addr::LOCALHOST.into()));
        here && (device.tenants.is_empty() || device.tenants.contains(&first))
    };
    let device = config.devices.iter().find(may)?;
    let title = if device.aet == "*" { "LEADGLASS_UP" } else { &device.aet };
    AeTitle::parse(title).ok()
}

struct Sample {
    sop_class: leadglass_model::SopClassUid,
    sop_instance: leadglass_model::SopInstanceUid,
    transfer_syntax: leadglass_model::TransferSyntaxUid,
    data_set: &'static [u8],
}

impl Sample {
    fn of(file: &'static [u8]) -> anyhow::Result<Self> {
        let mut reader = HeadReader::new();
        let head = match reader.feed(file)? {
            HeadStep::Done { head, .. } => *head,
            _ => reader.finish()?,
        };
        let start = usize::try_from(head.dataset_start)?;
        let meta = head.meta;
        Ok(Self {
            sop_class: meta.sop_class.context("a sample lacks its SOP class")?,
            sop_instance: meta.sop_instance_uid.context("a sample lacks its SOP instance")?,
            transfer_syntax: meta.transfer_syntax.context("a sample lacks its transfer syntax")?,
            data_set: file.get(start..).context("a sample has no data set")?,
        })
    }
}

const CONNECT_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_sent_by_a_device_that_may() {
        let mut config = crate::up::tests::vault_config();
        let title = |config: &Config| caller(config).map(|title| title.as_str().to_owned());
        assert_eq!(title(&config).as_deref(), Some("LEADGLASS_UP"));
        config.devices[0].aet = "CT1".to_owned();
        assert_eq!(title(&config).as_deref(), Some("CT1"));
        config.devices[0].tenants = vec![config.tenants[1].id];
        assert_eq!(title(&config), None);
        config.devices[0].tenants.clear();
        config.devices[0].address = "10.0.0.0/8".to_owned();
        assert_eq!(title(&config), None);
    }

    #[test]
    fn every_sample_is_a_dicom_file_of_its_own() {
        let samples: Vec<Sample> = SAMPLES.iter().map(|file| Sample::of(file).unwrap()).collect();
        assert!(samples.iter().all(|sample| sample.data_set.len() > 1000));
        assert_ne!(samples[0].sop_instance.expose(), samples[1].sop_instance.expose());
        assert_ne!(samples[1].sop_instance.expose(), samples[2].sop_instance.expose());
    }
}
