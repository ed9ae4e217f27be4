//! The draft of a notification to the authority (GDPR Art. 33(3)), English and German. It counts and names nobody; what only a
//! person knows or decides stands in square brackets.

use super::{Counts, list, number, text};
use crate::audit::time;
use serde_json::Value;

/// Both drafts, one behind the other.
pub(super) fn notification(scope: &Value) -> String {
    let facts = Facts::of(scope);
    format!("{}\n\n{}\n", english(&facts), german(&facts))
}

struct Facts {
    kind: String,
    id: String,
    from: String,
    to: String,
    aware: String,
    deadline: String,
    controller: Option<String>,
    contact: Option<String>,
    unaccounted: u64,
    counts: Counts,
}

impl Facts {
    fn of(scope: &Value) -> Self {
        let at = |field: &str| time(number(&scope[field]));
        let said = |field: &str| scope[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            kind: text(&scope["by"]).to_owned(),
            id: text(&scope["id"]).to_owned(),
            from: at("from_ms"),
            to: at("to_ms"),
            aware: at("aware_ms"),
            deadline: at("deadline_ms"),
            controller: said("controller"),
            contact: said("contact"),
            unaccounted: list(&scope["unaccounted"]).len() as u64,
            counts: Counts::of(scope),
        }
    }
}

fn english(facts: &Facts) -> String {
    let Facts { id, from, to, aware, deadline, counts, .. } = facts;
    let (opened, sealed) = (&counts.opened, &counts.sealed);
    let kind = match facts.kind.as_str() {
        "actor" => "a person's access",
        "device" => "a device",
        "key" => "a study key",
        _ => "a node",
    };
    let or = |said: &Option<String>, missing: &str| said.clone().unwrap_or_else(|| missing.to_owned());
    let person = |n: u64| if n == 1 { "1 person".to_owned() } else { format!("{n} persons") };
    let mut lines = vec![
        "DRAFT: notification of a personal data breach (GDPR Art. 33(3))".to_owned(),
        format!("Controller: {}", or(&facts.controller, "[name and address of the controller]")),
        format!("Became aware: {aware}. To be notified by: {deadline} (72 hours)."),
        "If later: [reasons for the delay (Art. 33(1))]".to_owned(),
        String::new(),
        "(a) Nature of the breach".to_owned(),
        format!("Personal data were reached, or may have been, through {kind} ({id}) from {from} to {to}."),
        "[what happened, and how it was found]".to_owned(),
        "Categories of persons: patients. Categories of data: medical images with names, dates of birth and IDs (health data, Art. 9). [more]".to_owned(),
        format!(
            "Opened (keys were given out): approximately {}, {} studies, {} images.",
            person(opened.patients), opened.studies, opened.instances
        ),
        format!(
            "Sealed only (encrypted, no key was given out): approximately {} more, {} studies, {} images.",
            person(sealed.patients), sealed.studies, sealed.instances
        ),
    ];
    if counts.gone > 0 {
        lines.push(format!("Of these studies {} were erased since; their images are not counted.", counts.gone));
    }
    if facts.unaccounted > 0 {
        lines.push(format!(
            "{} openings are not accounted for by the vault's log; they count as opened.",
            facts.unaccounted
        ));
    }
    if facts.kind == "node" {
        lines.push(
            "[whether the running node was reached: it holds the keys to names and IDs of all patients]".to_owned(),
        );
    }
    lines.extend([
        String::new(),
        "(b) Contact point".to_owned(),
        or(&facts.contact, "[contact point: name and how to reach the data protection officer]"),
        String::new(),
        "(c) Likely consequences".to_owned(),
        "[likely consequences for the persons concerned]".to_owned(),
        String::new(),
        "(d) Measures".to_owned(),
        "[measures taken, and measures proposed, also to mitigate effects]".to_owned(),
        "[whether the risk is high and persons are told (Art. 34); for sealed data, whether Art. 34(3)(a) applies]"
            .to_owned(),
    ]);
    lines.join("\n")
}

fn german(facts: &Facts) -> String {
    let Facts { id, from, to, aware, deadline, counts, .. } = facts;
    let (opened, sealed) = (&counts.opened, &counts.sealed);
    let kind = match facts.kind.as_str() {
        "actor" => "den Zugang einer Person",
        "device" => "ein Gerät",
        "key" => "einen Studienschlüssel",
        _ => "einen Knoten",
    };
    let or = |said: &Option<String>, missing: &str| said.clone().unwrap_or_else(|| missing.to_owned());
    let person = |n: u64| if n == 1 { "1 Person".to_owned() } else { format!("{n} Personen") };
    let mut lines = vec![
        "ENTWURF: Meldung einer Verletzung des Schutzes personenbezogener Daten (Art. 33 Abs. 3 DSGVO)".to_owned(),
        format!("Verantwortlicher: {}", or(&facts.controller, "[Name und Anschrift des Verantwortlichen]")),
        format!("Bekannt geworden: {aware}. Zu melden bis: {deadline} (72 Stunden)."),
        "Falls später: [Gründe der Verzögerung (Art. 33 Abs. 1)]".to_owned(),
        String::new(),
        "a) Art der Verletzung".to_owned(),
        format!("Über {kind} ({id}) wurden von {from} bis {to} personenbezogene Daten erreicht oder können erreicht worden sein."),
        "[was geschah, und wie es bemerkt wurde]".to_owned(),
        "Kategorien von Personen: Patientinnen und Patienten. Kategorien von Daten: medizinische Bilder mit Namen, Geburtsdaten und Kennungen (Gesundheitsdaten, Art. 9). [weitere]".to_owned(),
        format!(
            "Geöffnet (Schlüssel wurden ausgegeben): etwa {}, {} Studien, {} Bilder.",
            person(opened.patients), opened.studies, opened.instances
        ),
        format!(
            "Nur versiegelt (verschlüsselt, kein Schlüssel ausgegeben): etwa {} mehr, {} Studien, {} Bilder.",
            person(sealed.patients), sealed.studies, sealed.instances
        ),
    ];
    if counts.gone > 0 {
        lines.push(format!("{} dieser Studien wurden seither gelöscht; ihre Bilder sind nicht gezählt.", counts.gone));
    }
    if facts.unaccounted > 0 {
        lines.push(format!(
            "{} Öffnungen belegt das Protokoll des Tresors nicht; sie zählen als geöffnet.",
            facts.unaccounted
        ));
    }
    if facts.kind == "node" {
        lines.push(
            "[ob der laufende Knoten erreicht wurde: er hält die Schlüssel zu Namen und Kennungen aller Patienten]"
                .to_owned(),
        );
    }
    lines.extend([
        String::new(),
        "b) Anlaufstelle".to_owned(),
        or(&facts.contact, "[Kontaktstelle: Name und Erreichbarkeit der oder des Datenschutzbeauftragten]"),
        String::new(),
        "c) Wahrscheinliche Folgen".to_owned(),
        "[wahrscheinliche Folgen für die betroffenen Personen]".to_owned(),
        String::new(),
        "d) Maßnahmen".to_owned(),
        "[ergriffene und vorgeschlagene Maßnahmen, auch zur Abmilderung]".to_owned(),
        "[ob das Risiko hoch ist und die Personen benachrichtigt werden (Art. 34); für versiegelte Daten, ob Art. 34 Abs. 3 Buchst. a greift]".to_owned(),
    ]);
    lines.join("\n")
}
