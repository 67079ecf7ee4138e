/** A picture that is dropped anywhere on the page or pasted goes into the form that searches by picture. */
const form = document.querySelector('form[data-drop]');
const input = form?.querySelector('input[type=file]');

/** @param {FileList | undefined} files */
const ask = (files) => {
  if (files === undefined || files.length === 0) return;
  input.files = files;
  form.requestSubmit();
};

if (form !== null && input !== null) {
  document.addEventListener('dragover', (event) => {
    event.preventDefault();
    form.classList.add('over');
  });
  document.addEventListener('dragleave', () => form.classList.remove('over'));
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    form.classList.remove('over');
    ask(event.dataTransfer?.files);
  });
  document.addEventListener('paste', (event) => ask(event.clipboardData?.files));
}
