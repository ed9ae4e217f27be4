//! One thing that was looked at, and how bad it is.

use serde::Serialize;

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Light {
    /// As it should be.
    Green,
    /// Works, and is weaker than it could be, or cannot be told from here.
    Yellow,
    /// Images or keys could be lost or stolen.
    Red,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Stable word.
    pub(super) code: String,
    /// How bad.
    pub(super) light: Light,
    /// What was found.
    pub(super) sentence: String,
    /// Why it matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// What to do: a command, or a line of a configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<String>,
}

impl Finding {
    pub(super) fn new(code: &str, light: Light, sentence: impl Into<String>) -> Self {
        Self { code: code.to_owned(), light, sentence: sentence.into(), why: None, fix: None }
    }

    pub(super) fn green(code: &str, sentence: impl Into<String>) -> Self {
        Self::new(code, Light::Green, sentence)
    }

    pub(super) fn yellow(code: &str, sentence: impl Into<String>) -> Self {
        Self::new(code, Light::Yellow, sentence)
    }

    pub(super) fn red(code: &str, sentence: impl Into<String>) -> Self {
        Self::new(code, Light::Red, sentence)
    }

    pub(super) fn why(self, why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..self }
    }

    pub(super) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

/// All that was looked at, and the worst light.
#[derive(Debug, Serialize)]
pub(super) struct Diagnosis {
    pub(super) light: Light,
    pub(super) findings: Vec<Finding>,
}

impl Diagnosis {
    pub(super) fn of(findings: Vec<Finding>) -> Self {
        let light = findings.iter().map(|finding| finding.light).max().unwrap_or(Light::Green);
        Self { light, findings }
    }

    /// For people: what, why, what to do; then how many of each.
    pub(super) fn words(&self) -> String {
        let count = |light| self.findings.iter().filter(|finding| finding.light == light).count();
        let mut words = String::new();
        for finding in &self.findings {
            let mark = match finding.light {
                Light::Green => '✓',
                Light::Yellow => '!',
                Light::Red => '✗',
            };
            words.push_str(&format!("{mark} {}\n", finding.sentence));
            if let Some(why) = &finding.why {
                words.push_str(&format!("    {why}\n"));
            }
            if let Some(fix) = &finding.fix {
                words.push_str(&format!("    → {fix}\n"));
            }
        }
        words.push_str(&format!(
            "\n{} well, {} to think about, {} not safe\n",
            count(Light::Green),
            count(Light::Yellow),
            count(Light::Red)
        ));
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_carry_a_mark_a_reason_a_way_out_and_a_count() {
        let bad = Finding::red("c", "Bad.").why("Because.").fix("chmod 600 x");
        let words = Diagnosis::of(vec![Finding::green("a", "Fine."), Finding::yellow("b", "Hm."), bad]).words();
        let all = "✓ Fine.\n! Hm.\n✗ Bad.\n    Because.\n    → chmod 600 x\n\n1 well, 1 to think about, 1 not safe\n";
        assert_eq!(words, all);
    }

    #[test]
    fn the_worst_light_counts() {
        assert!(Light::Red > Light::Yellow && Light::Yellow > Light::Green);
        let diagnosis = Diagnosis::of(vec![Finding::yellow("a", "Hm."), Finding::green("b", "Fine.")]);
        assert_eq!(diagnosis.light, Light::Yellow);
        let json = serde_json::to_value(Finding::red("plain", "Bad.").fix("true")).unwrap();
        assert_eq!(json, serde_json::json!({ "code": "plain", "light": "red", "sentence": "Bad.", "fix": "true" }));
    }
}
