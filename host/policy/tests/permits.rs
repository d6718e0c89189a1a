//! What must not compile, and beside each its twin that does.

#[test]
fn a_permit_cannot_be_made_copied_or_used_twice() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile/permit_from_the_gate.rs");
    cases.compile_fail("tests/compile/permit_made_by_hand.rs");
    cases.compile_fail("tests/compile/permit_minted_outside.rs");
    cases.compile_fail("tests/compile/permit_cloned.rs");
    cases.compile_fail("tests/compile/permit_used_twice.rs");
    cases.compile_fail("tests/compile/port_without_permit.rs");
    cases.compile_fail("tests/compile/permit_for_another_port.rs");
    cases.compile_fail("tests/compile/seal_made_by_hand.rs");
}
