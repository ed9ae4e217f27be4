//! A first study, over the door that every device uses. The files are invented patients of `fixtures/`; none is written.

use super::summary::DicomAt;
use anyhow::{Context, ensure};
use leadglass_dimse::{
    AeTitle,
    send::{Proposal, Requestor, SendConfig, connect},
};
use leadglass_tap::part10::{HeadReader, HeadStep};
use std::time::Duration;

/// A chest X-ray, and a CT of two slices.
const SAMPLES: [&[u8]; 3] = [
    include_bytes!("../../../../fixtures/dx.dcm"),
    include_bytes!("../../../../fixtures/ct-1.dcm"),
    include_bytes!("../../../../fixtures/ct-2.dcm"),
];

/// Sends them to a listener by C-STORE.
pub async fn load(at: &DicomAt) -> anyhow::Result<usize> {
    let config = SendConfig::new(AeTitle::parse("LEADGLASS_UP")?, AeTitle::parse(&at.aet)?);
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
    fn every_sample_is_a_dicom_file_of_its_own() {
        let samples: Vec<Sample> = SAMPLES.iter().map(|file| Sample::of(file).unwrap()).collect();
        assert!(samples.iter().all(|sample| sample.data_set.len() > 1000));
        assert_ne!(samples[0].sop_instance.expose(), samples[1].sop_instance.expose());
        assert_ne!(samples[1].sop_instance.expose(), samples[2].sop_instance.expose());
    }
}
