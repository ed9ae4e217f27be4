//! The words of the command line, as people see them. `TRYCMD=overwrite` writes them anew after a change.

#[test]
fn help_texts_are_as_written() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}
