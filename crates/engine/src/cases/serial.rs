//! Texts that name somebody, on their way into a row that is sealed: `Phi` itself is written nowhere.

/// Text that names somebody, in a row that is sealed.
pub(super) mod named {
    use leadglass_model::Phi;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::cases) fn serialize<S: Serializer>(text: &Phi<String>, s: S) -> Result<S::Ok, S::Error> {
        text.expose().serialize(s)
    }

    pub(in crate::cases) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Phi<String>, D::Error> {
        String::deserialize(d).map(Phi::new)
    }
}

/// The same, where there may be none.
pub(super) mod named_or_not {
    use leadglass_model::Phi;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::cases) fn serialize<S: Serializer>(text: &Option<Phi<String>>, s: S) -> Result<S::Ok, S::Error> {
        text.as_ref().map(Phi::expose).serialize(s)
    }

    pub(in crate::cases) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Phi<String>>, D::Error> {
        Ok(Option::<String>::deserialize(d)?.map(Phi::new))
    }
}
