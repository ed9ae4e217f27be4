//! Searches against one that reads every row and is too slow to be wrong.

use super::*;
use crate::{DateRange, NamePattern, SeriesKeys, SeriesRow, StudyRow, TextPattern, TimeRange};
use leadglass_model::{Phi, SeriesUid, StudyRef, StudyUid, UnixMillis};
use leadglass_seal::Secret;
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Invented {
    study: StudyRow,
    series: Vec<SeriesRow>,
}

fn text(pattern: &'static str) -> impl Strategy<Value = Option<Phi<String>>> {
    proptest::option::weighted(0.8, pattern).prop_map(|text| text.map(Phi::new))
}

fn invented() -> impl Strategy<Value = Invented> {
    let names = text("(Doe|Müller|MUELLER|Smith-Jones|O'Neill)\\^[AB]n?|=山田|[a-d]{1,3}");
    let ids = (text("P[12]{1,3}|[ab1]{0,2} ?"), text("A[12]{1,2}"));
    let dates =
        (text("2024010[1-4]|20230101|2024\\.01\\.02|x"), text("(08|10)(00(00(\\.12)?)?)?|x"), text("197[01]0101"));
    let rest = (text("[MF]"), text("Knee|knee left|CT st"), text("Roe\\^R"), text("S[12]"));
    let series = proptest::collection::vec(
        (proptest::option::of("CT|MR|DX|SR ?|M[0-9]{1,2}"), proptest::option::of(1i64..3), text("Axial|Scout")),
        0..3,
    );
    (names, ids, dates, rest, series).prop_map(|(name, ids, dates, rest, series)| Invented {
        study: StudyRow {
            uid: StudyUid::parse("1").unwrap(),
            patient_name: name,
            patient_id: ids.0,
            issuer: None,
            birth_date: dates.2,
            sex: rest.0,
            date: dates.0,
            time: dates.1,
            id: rest.3,
            description: rest.1,
            accession_number: ids.1,
            referring_physician: rest.2,
            timezone_offset: None,
            created_at: UnixMillis(1),
            quarantine: None,
        },
        series: series
            .into_iter()
            .map(|(modality, number, description)| SeriesRow {
                uid: SeriesUid::parse("1").unwrap(),
                modality,
                number,
                description,
                date: None,
                time: None,
                body_part: None,
                laterality: None,
                instances: 1,
                performed_date: None,
                performed_time: None,
                requests: Vec::new(),
            })
            .collect(),
    })
}

fn wanted<T: std::fmt::Debug>(
    weight: f64,
    pattern: &'static str,
    read: fn(&str) -> Option<T>,
) -> impl Strategy<Value = Option<T>> {
    proptest::option::weighted(weight, pattern).prop_map(move |text| text.and_then(|text| read(&text)))
}

fn query() -> impl Strategy<Value = Query> {
    let pattern = |text: &str| Pattern::parse(text).unwrap();
    let name = |text: &str| NamePattern::parse(text).unwrap();
    let words = (
        wanted(0.2, "P[12*?]{1,3}|[ab1*]{0,2}", pattern),
        wanted(0.3, "mue?ller\\*|\\*ll\\*|doe\\^\\*|smithjones\\*|=山\\*|[a-d?*]{1,3}|\\*an", name),
        wanted(0.1, "A[12*]{1,2}", pattern),
        wanted(0.1, "\\*CT st\\*|KNEE\\*", |text| TextPattern::parse(text).unwrap()),
        wanted(0.1, "roe\\*", name),
        wanted(0.1, "[MF]", pattern),
        wanted(0.1, "S1", pattern),
    );
    let dates = (
        wanted(0.3, "2024010[1-4](-2024010[2-4]?)?|-20240102|20240102-", |text| DateRange::parse(text).unwrap_or(None)),
        wanted(0.2, "10|08-|-0900|0800-1000", |text| TimeRange::parse(text).unwrap()),
        wanted(0.1, "19700101|1971-?", |text| DateRange::parse(text).unwrap_or(None)),
    );
    let modalities = proptest::collection::vec("CT|MR|D\\*|M?|M1", 0..2);
    let uids = proptest::option::weighted(0.1, proptest::collection::vec(0u32..20, 1..4));
    (words, dates, modalities, uids, 0usize..4, proptest::option::of(0usize..6)).prop_map(
        |(words, dates, modalities, uids, offset, limit)| Query {
            study_uids: uids.unwrap_or_default().into_iter().map(uid).collect(),
            patient_id: words.0,
            patient_name: words.1,
            accession_number: words.2,
            description: words.3,
            referring_physician: words.4,
            sex: words.5,
            study_id: words.6,
            study_date: dates.0,
            study_time: dates.1,
            birth_date: dates.2,
            modalities: modalities.iter().filter_map(|text| Pattern::parse(text).unwrap()).collect(),
            offset,
            limit,
            ..Query::default()
        },
    )
}

fn uid(n: u32) -> StudyUid {
    StudyUid::parse(&format!("1.{n}")).unwrap()
}

fn study_ref(n: u32) -> StudyRef {
    StudyRef::from_bytes([&n.wrapping_mul(0x9e37_79b1).to_be_bytes()[..], &[0; 12]].concat().try_into().unwrap())
}

fn fits(query: &Query, study: &StudyRow, series: &[SeriesRow]) -> bool {
    let of = |value: &Option<Phi<String>>| value.as_ref().map_or(String::new(), |v| v.expose().clone());
    let text = |value: &Option<Phi<String>>, p: &Option<Pattern>| p.as_ref().is_none_or(|p| p.matches(&of(value)));
    let modality = |row: &SeriesRow| {
        let held = row.modality.as_deref().unwrap_or("");
        query.modalities.iter().any(|p| p.matches(held))
    };
    (query.study_uids.is_empty() || query.study_uids.contains(&study.uid))
        && text(&study.patient_id, &query.patient_id)
        && text(&study.accession_number, &query.accession_number)
        && text(&study.sex, &query.sex)
        && text(&study.id, &query.study_id)
        && query.patient_name.as_ref().is_none_or(|p| p.matches(&of(&study.patient_name)))
        && query.referring_physician.as_ref().is_none_or(|p| p.matches(&of(&study.referring_physician)))
        && query.description.as_ref().is_none_or(|p| p.matches(&of(&study.description)))
        && query.birth_date.is_none_or(|range| range.matches(&of(&study.birth_date)))
        && crate::range::moment_fits(query.study_date, query.study_time, Some(&of(&study.date)), Some(&of(&study.time)))
        && (query.modalities.is_empty() || series.iter().any(modality))
}

/// Newest first, as a person would sort: by day, then by hours, minutes and seconds, then by random name.
fn key(n: u32, study: &StudyRow) -> (std::cmp::Reverse<(String, String)>, StudyRef) {
    let of = |value: &Option<Phi<String>>| value.as_ref().map_or(String::new(), |v| v.expose().replace(['.', 'x'], ""));
    let time: String = of(&study.time).chars().chain(std::iter::repeat('0')).take(6).collect();
    (std::cmp::Reverse((of(&study.date), time)), study_ref(n))
}

proptest! {
    #[test]
    fn a_search_finds_what_a_slow_one_finds(
        studies in proptest::collection::vec(invented(), 0..20),
        queries in proptest::collection::vec(query(), 8),
        loaded in 0usize..20,
        again in proptest::collection::vec((0usize..20, invented()), 0..4),
        steps in 1usize..6,
        series_keys in (proptest::collection::vec("CT|M\\*", 0..2), proptest::option::of(1i64..3)),
    ) {
        let mut state = TenantState::new(Secret::from_bytes([1; 32]));
        let mut held: Vec<Invented> = Vec::new();
        let put = |state: &mut TenantState, n: u32, version: u64, invented: &mut Invented| {
            invented.study.uid = uid(n);
            for (at, series) in (1u32..).zip(&mut invented.series) {
                series.uid = SeriesUid::parse(&format!("1.{n}.{at}")).unwrap();
                let mac = state.uid_mac(series.uid.expose());
                state.put_series((study_ref(n), mac), version, series, Some(1));
            }
            let mac = state.uid_mac(invented.study.uid.expose());
            state.put_study((study_ref(n), mac), version, &invented.study);
        };
        for (n, mut invented) in (0u32..).zip(studies) {
            if n as usize == loaded {
                state.sort();
            }
            put(&mut state, n, 1, &mut invented);
            held.push(invented);
        }
        state.sort();
        // Later versions, which take another place; and a study that goes.
        for (n, mut invented) in again {
            if n < held.len() {
                invented.series = held[n].series.clone();
                put(&mut state, u32::try_from(n).unwrap(), 2, &mut invented);
                held[n] = invented;
            }
        }
        let gone = (held.len() > 3).then(|| { state.forget(study_ref(3)); 3 });
        let mut order: Vec<u32> = (0..u32::try_from(held.len()).unwrap()).filter(|n| gone != Some(*n)).collect();
        order.sort_by_key(|n| key(*n, &held[*n as usize].study));
        for query in queries {
            let all: Vec<u32> = order.iter().copied()
                .filter(|n| fits(&query, &held[*n as usize].study, &held[*n as usize].series)).collect();
            let expected: Vec<StudyUid> =
                all.iter().skip(query.offset).take(query.limit.unwrap_or(usize::MAX)).map(|n| uid(*n)).collect();
            let (mut cursor, mut out) = (Cursor::default(), Collector::new(&query));
            while state.search(&query, &mut cursor, steps, &mut out) {}
            let found = out.finish();
            let uids: Vec<&str> = found.hits.iter().map(|hit| hit.row.uid.expose()).collect();
            let dates: Vec<String> = order.iter().map(|n| format!("{n}:{:?}", key(*n, &held[*n as usize].study).0)).collect();
            prop_assert_eq!(uids, expected.iter().map(StudyUid::expose).collect::<Vec<_>>(), "{:?}", dates);
            prop_assert_eq!(found.more, query.limit.is_some_and(|limit| all.len() > query.offset + limit));
            for hit in &found.hits {
                let n: usize = hit.row.uid.expose()[2..].parse().unwrap();
                prop_assert_eq!(&hit.row, &held[n].study);
                prop_assert_eq!(hit.series as usize, held[n].series.len());
            }

            let deep = DeepQuery {
                study: query,
                series: SeriesKeys {
                    modality: series_keys.0.iter().filter_map(|text| Pattern::parse(text).unwrap()).collect(),
                    number: series_keys.1,
                    ..SeriesKeys::default()
                },
                ..DeepQuery::default()
            };
            let mut expected = Vec::new();
            for n in &all {
                let mut rows = held[*n as usize].series.clone();
                rows.retain(|row| deep.series.fits(row));
                rows.sort_by_key(|row| (row.number, row.uid.clone()));
                expected.extend(rows);
            }
            let (mut cursor, mut out) = (Cursor::default(), Collector::new(&deep.study));
            while state.search_series(&deep, &mut cursor, steps, &mut out) {}
            let found: Vec<SeriesRow> = out.finish().hits.into_iter().map(|hit| hit.row).collect();
            let limit = deep.study.limit.unwrap_or(usize::MAX);
            prop_assert_eq!(found, expected.into_iter().skip(deep.study.offset).take(limit).collect::<Vec<_>>());
        }
    }
}
